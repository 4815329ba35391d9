"""One self-contained HTML page of many pictures: before and after, difference, what was decided.

Pictures are small JPEGs, regions are paths drawn over them by the browser; nothing is fetched from
anywhere, and every text is shown as it is.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from uosam.report.outlines import mask_path, region_paths
from uosam.report.overlay import LONGEST, colour
from uosam.structures import IGNORE, Image, LabelMap
from uosam.text import one_line

BUDGET = 40_000_000
"""Bytes that all previews of a page share; 5,000 pictures stay below 50 MB."""

CHUNK = 40
"""Pictures of a page of the list, and of a piece of the data."""

_SIDES = (LONGEST, 1400, 1000, 700, 500, 360, 260, 200, 160, 120)
_PIXEL = 0.1
"""Bytes of a JPEG's pixel at least, most need twice as many."""
_HERE = Path(__file__).parent


@dataclass(frozen=True, eq=False, kw_only=True)
class Entry:
    """One picture of the page.

    Attributes:
        name: of the picture.
        facts: numbers to sort and to show by title; None where unknown.
        preview: JPEG; None where there is no picture.
        hw: size of the drawing.
        layers: regions by title of the layer, in the order of the page's layers: id and path.
        changed: path of what differs between the first two layers.
        table: rows of what was decided.
        note: a sentence, such as what the reader must know.
    """

    name: str
    facts: Mapping[str, float | None]
    preview: bytes | None
    hw: tuple[int, int]
    layers: Mapping[str, Sequence[tuple[int, str]]]
    changed: str = ""
    table: Sequence[Sequence[str]] = ()
    note: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Page:
    """What the page says besides its pictures.

    Attributes:
        title: of the page.
        summary: figures by title.
        sort: titles of facts to sort by, the first at first, largest first.
        units: of facts by title, "%" for shares in [0, 1].
        layers: titles of the layers; the first two are before and after.
        columns: of each picture's table.
        histograms: values by title.
        tables: title, columns and rows of each table.
        failures: reason by file.
        names: id to class name.
        notes: sentences.
    """

    title: str
    summary: Sequence[tuple[str, str]]
    sort: Sequence[str]
    units: Mapping[str, str] = field(default_factory=dict)
    layers: Sequence[str] = ("before", "after")
    columns: Sequence[str] = ()
    histograms: Mapping[str, Sequence[float]] = field(default_factory=dict)
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def make_entry(
    name: str,
    image: Image | None,
    maps: Mapping[str, LabelMap],
    share: float,
    *,
    facts: Mapping[str, float | None],
    background: int | None = 0,
    table: Sequence[Sequence[str]] = (),
    note: str = "",
) -> Entry:
    """Draw one picture within its share of bytes.

    Args:
        name: of the picture.
        image: (H, W, 3) RGB, or None for regions on grey.
        maps: (H, W) ids by layer; the first two are compared.
        share: bytes that picture and paths may take together, about.
        facts: numbers by title.
        background: id without a colour, or None.
        table: rows of what was decided.
        note: a sentence.
    """
    height, width = next(iter(maps.values())).shape
    largest = min(LONGEST, max(height, width))
    for side in (largest, *(side for side in _SIDES if side < largest)):
        scale = min(1.0, side / max(height, width))
        hw = max(1, round(height * scale)), max(1, round(width * scale))
        if _PIXEL * hw[0] * hw[1] > share and side > _SIDES[-1]:
            continue  # no picture of this size is so small
        preview = None if image is None else _jpeg(image, hw)
        layers = {title: region_paths(labels, hw, background) for title, labels in maps.items()}
        changed = ""
        if len(maps) > 1:
            before, after = list(maps.values())[:2]
            changed = mask_path((before != after) & (before != IGNORE), hw)
        size = len(preview or b"") * 4 / 3 + len(changed)
        size += sum(len(path) for paths in layers.values() for _, path in paths)
        if size <= share:
            break
    return Entry(
        name=name,
        facts=facts,
        preview=preview,
        hw=hw,
        layers=layers,
        changed=changed,
        table=table,
        note=note,
    )


def _jpeg(image: Image, hw: tuple[int, int]) -> bytes:
    picture = PIL.Image.fromarray(image)
    if image.shape[:2] != hw:
        picture = picture.resize(hw[::-1], PIL.Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80 if max(hw) > 300 else 62, optimize=True)
    return buffer.getvalue()


def encode_page(page: Page, entries: Iterable[Entry]) -> bytes:
    """Return the HTML; entries are taken one at a time."""
    index: list[dict[str, Any]] = []
    pieces: list[str] = []
    chunk: list[dict[str, Any]] = []
    used: set[int] = set()
    for number, entry in enumerate(entries):
        index.append({"name": one_line(entry.name), "facts": dict(entry.facts)})
        used |= {label for paths in entry.layers.values() for label, _ in paths}
        chunk.append(
            {
                "image": None if entry.preview is None else _base64(entry.preview),
                "size": [entry.hw[1], entry.hw[0]],
                "layers": {title: list(paths) for title, paths in entry.layers.items()},
                "changed": entry.changed,
                "table": [list(row) for row in entry.table],
                "note": entry.note,
            }
        )
        if len(chunk) == CHUNK:
            pieces.append(_script(f"chunk{number // CHUNK}", chunk))
            chunk = []
    if chunk:
        pieces.append(_script(f"chunk{(len(index) - 1) // CHUNK}", chunk))
    colours = {i: "#{:02x}{:02x}{:02x}".format(*colour(i).tolist()) for i in sorted(used)}
    head = {
        "sort": list(page.sort),
        "units": dict(page.units),
        "layers": list(page.layers),
        "columns": list(page.columns),
        "colours": colours,
        "names": {i: one_line(page.names.get(i) or str(i)) for i in sorted(used)},
        "chunk": CHUNK,
        "index": index,
    }
    template = (_HERE / "page.html").read_text(encoding="utf-8")
    before, after = template.split("@DATA@")
    before = before.replace("@TITLE@", html.escape(page.title)).replace("@BODY@", _body(page))
    return "".join([before, _script("head", head), *pieces, after]).encode()


def _script(name: str, value: Any) -> str:
    # "<" in a string of JSON may as well be \u003c, which no parser of HTML takes for a tag.
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _body(page: Page) -> str:
    """Return everything above the pictures."""
    parts = ["<dl>"]
    for title, text in page.summary:
        parts.append(f"<div><dt>{_text(title)}</dt><dd>{_text(text)}</dd></div>")
    parts.append("</dl>")
    parts += [f"<p class=note>{_text(note)}</p>" for note in page.notes]
    drawn = [_histogram(title, values) for title, values in page.histograms.items() if len(values)]
    parts.append(f"<div class=histograms>{''.join(drawn)}</div>")
    for title, columns, rows in page.tables:
        head = "".join(f"<th>{_text(column)}</th>" for column in columns)
        cells = "".join(
            "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        shown = " open" if len(rows) <= 30 else ""
        parts.append(
            f"<details{shown}><summary>{_text(title)} ({len(rows)})</summary>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table></details>"
        )
    if page.failures:
        rows_ = "".join(
            f"<tr><td>{_text(name)}</td><td>{_text(why)}</td></tr>"
            for name, why in page.failures.items()
        )
        parts.append(
            f"<details open class=failed><summary>Failed ({len(page.failures)})</summary>"
            f"<table><thead><tr><th>file</th><th>reason</th></tr></thead>"
            f"<tbody>{rows_}</tbody></table></details>"
        )
    return "\n".join(parts)


def _text(text: str) -> str:
    return html.escape(one_line(text))


def _histogram(title: str, values: Sequence[float], bins: int = 24) -> str:
    """Draw a histogram as SVG with the ends of its axis."""
    array = np.asarray(values, float)
    array = array[np.isfinite(array)]
    if not len(array):
        return ""
    low, high = float(array.min()), float(array.max())
    counts, _ = np.histogram(array, bins, (low, high if high > low else low + 1))
    top = counts.max()
    bars = "".join(
        f'<rect x="{10 * i}" y="{80 - 80 * n / top:.1f}" width="9" height="{80 * n / top:.1f}"/>'
        for i, n in enumerate(counts.tolist())
    )
    return (
        f'<figure><svg viewBox="0 0 {10 * bins} 80" preserveAspectRatio="none">{bars}</svg>'
        f"<figcaption><span>{low:.3g}</span><b>{_text(title)}</b><span>{high:.3g}</span>"
        "</figcaption></figure>"
    )
