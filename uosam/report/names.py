"""Pictures of what got a name: for each id its name, its best five, and regions to check it by."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from uosam.regions.naming import UNKNOWN, Name
from uosam.report.overlay import colour
from uosam.structures import Image

THUMB = 96
"""Pixels of the square that a region is shown in."""
MOST_ROWS = 60
"""Ids drawn on the sheet; the page has all of them."""
_GAP = 6
_LABEL = 250


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """One id.

    Attributes:
        label: the id.
        name: what it is called.
        best: (THUMB, THUMB, 3) pictures of the regions that fit the name best.
        worst: of those that fit it least.
    """

    label: int
    name: Name
    best: Sequence[Image]
    worst: Sequence[Image]


def legend(names: Mapping[int, Name]) -> dict[int, str]:
    """Return a text for each id; the second of a name is numbered.

    >>> dog = Name(text="dog", score=1.0, share=1.0, margin=1.0, best=())
    >>> legend({1: dog, 4: dog})
    {1: 'dog', 4: 'dog (2)'}
    """
    seen: dict[str, int] = {}
    texts = {}
    for label, name in names.items():
        seen[name.text] = number = seen.get(name.text, 0) + 1
        repeated = number > 1 and name.text != UNKNOWN
        texts[label] = f"{name.text} ({number})" if repeated else name.text
    return texts


def encode_names_sheet(rows: Sequence[Row], texts: Mapping[int, str]) -> bytes:
    """Return the PNG of one line for each id, at most ``MOST_ROWS``.

    Args:
        rows: in order of id.
        texts: of ``legend``.
    """
    shown = rows[:MOST_ROWS]
    columns = max((len(row.best) + len(row.worst) for row in shown), default=0)
    height = THUMB + _GAP
    width = _LABEL + (columns + 1) * (THUMB + _GAP)
    sheet = PIL.Image.new("RGB", (width, max(1, len(shown)) * height + _GAP), "white")
    pen = PIL.ImageDraw.Draw(sheet)
    large, small = (PIL.ImageFont.load_default(size=size) for size in (17, 12))
    for number, row in enumerate(shown):
        top = _GAP + number * height
        pen.rectangle((_GAP, top, _GAP + 12, top + 12), fill=tuple(colour(row.label).tolist()))
        pen.text((24, top - 3), f"{row.label}  {texts[row.label]}", fill="black", font=large)
        for place, (text, score) in enumerate(row.name.best):
            y = top + 22 + 14 * place
            length = round(60 * score)
            pen.rectangle((_GAP, y + 3, _GAP + length, y + 11), fill="#7da7d9")
            pen.text((_GAP + 66, y), f"{score:.2f} {text}"[:30], fill="black", font=small)
        x = _LABEL
        for thumbs in (row.best, row.worst):
            for thumb in thumbs:
                sheet.paste(PIL.Image.fromarray(thumb), (x, top))
                x += THUMB + _GAP
            x += THUMB // 2
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def encode_names_page(rows: Sequence[Row], texts: Mapping[int, str], notes: Sequence[str]) -> bytes:
    """Return the HTML page, complete in itself.

    Args:
        rows: in order of id.
        texts: of ``legend``.
        notes: lines above the table.
    """
    parts = [_HEAD]
    parts += [f"<p class=note>{html.escape(note)}</p>" for note in notes]
    parts.append(
        "<table><tr><th>id<th>name<th>share<th>regions<th>best five<th>fits best<th>fits least</tr>"
    )
    for row in rows:
        bars = "".join(
            f"<div><span class=bar style='width:{round(80 * score)}px'></span> {score:.2f} "
            f"{html.escape(text)}</div>"
            for text, score in row.name.best
        )
        red, green, blue = colour(row.label).tolist()
        unsure = " class=unknown" if row.name.text == UNKNOWN else ""
        parts.append(
            f"<tr{unsure}><td><span class=key style='background:rgb({red},{green},{blue})'></span>"
            f"{row.label}<td class=name>{html.escape(texts[row.label])}"
            f"<td>{row.name.share:.2f}<td>{row.name.regions} in {row.name.pictures}"
            f"<td class=best>{bars}<td>{_thumbs(row.best)}<td>{_thumbs(row.worst)}</tr>"
        )
    parts.append("</table>")
    return "\n".join(parts).encode()


def thumbnail(view: Image) -> Image:
    """Return a square view of a region at the size in which it is shown."""
    small = PIL.Image.fromarray(view).resize((THUMB, THUMB), PIL.Image.Resampling.LANCZOS)
    return np.asarray(small, np.uint8)


def _thumbs(thumbs: Sequence[Image]) -> str:
    found = []
    for thumb in thumbs:
        buffer = io.BytesIO()
        PIL.Image.fromarray(thumb).save(buffer, "JPEG", quality=80)
        data = base64.b64encode(buffer.getvalue()).decode()
        found.append(f'<img src="data:image/jpeg;base64,{data}" alt="">')
    return "".join(found)


_HEAD = """<!doctype html><meta charset=utf-8><title>Names</title>
<style>
body { font: 15px sans-serif; margin: 2em; }
table { border-collapse: collapse; } td, th { padding: 4px 10px; vertical-align: top;
  border-bottom: 1px solid #ddd; text-align: left; }
.name { font-weight: bold; } .unknown .name { color: #b00; font-style: italic; }
.bar { display: inline-block; height: 9px; background: #7da7d9; } .best { white-space: nowrap; }
.key { display: inline-block; width: 12px; height: 12px; margin-right: 6px; }
.note { color: #840; } img { margin: 0 3px 3px 0; }
</style>
<h1>Names</h1>
<p>To change a name, edit the column <b>name</b> of names.csv and run the command again with
<b>--apply names.csv</b>.</p>"""
