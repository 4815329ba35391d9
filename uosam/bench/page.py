"""A leaderboard as one HTML page that needs no other file: table, plots and example pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import cv2
import numpy as np
import PIL.Image

from uosam.bench.cell import read_sample
from uosam.bench.leaderboard import Leaderboard
from uosam.bench.plots import accuracy_against_time, gain_by_quality, gain_by_size
from uosam.bench.report import CAPTION, table_cells
from uosam.bench.scores import BenchRow, Compared, Entry
from uosam.bench.stored_cell import read_map
from uosam.errors import ConfigError
from uosam.metrics.scores import Doubles
from uosam.report.overlay import draw_labels
from uosam.structures import IGNORE, Image, LabelMap

SHOWN_METHODS = 4
"""Methods beside coarse mask and truth in a row of examples: those of largest mean gain."""

PANEL = 230
"""Width of an example picture in pixels."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
td, th { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: right }
td.text, th.text { text-align: left } tr.published { background: #fff7e0 }
tr.failed { color: #a00 } tr.new td { border-top: 2px solid #888 }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; vertical-align: top }
figure.row { display: block } figcaption { color: #555; font-size: 13px }
.scroll { overflow-x: auto }
"""


def to_html(board: Leaderboard, title: str = "uosam bench") -> str:
    """Return the page.

    Plots need matplotlib, without which the page says so in their place. Examples are the picture
    of largest, median and smallest change of each set, for the method of largest mean gain.
    """
    body = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(CAPTION)}</p>"]
    body += [_table(board.rows), "<h2>Plots</h2>", *_plots(board), "<h2>Examples</h2>"]
    body += _examples(board)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _table(rows: Sequence[BenchRow]) -> str:
    header, cells = table_cells(rows)
    texts = [title in ("", "set", "method", "note") for title in header]

    def line(values: Sequence[str], tag: str, kind: str = "") -> str:
        inner = "".join(
            f"<{tag}{' class=text' if text else ''}>{html.escape(value)}</{tag}>"
            for value, text in zip(values, texts, strict=True)
        )
        return f'<tr class="{kind}">{inner}</tr>'

    lines = [line(header, "th")]
    for index, (row, values) in enumerate(zip(rows, cells, strict=True)):
        kinds = [row.kind, "failed" if row.note.startswith("failed") else ""]
        kinds.append("new" if index and rows[index - 1].data != row.data else "")
        lines.append(line(values, "td", " ".join(kind for kind in kinds if kind)))
    return '<div class="scroll"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _plots(board: Leaderboard) -> list[str]:
    good = [(entry, compared) for entry, compared in board.entries if compared is not None]
    if not good:
        return ["<p>No method has numbers.</p>"]
    measured = [row for row in board.rows if row.kind == "measured"]
    averages = [row for row in measured if row.data.startswith("mean of")] or measured
    try:
        plots = (
            ("Accuracy against time", accuracy_against_time(averages)),
            ("Gain by object size", gain_by_size(good)),
            ("Gain by quality of the coarse mask", gain_by_quality(good)),
        )
    except ConfigError as error:
        return [f"<p>{html.escape(str(error))}</p>"]
    return [
        f'<figure><img alt="{name}" src="{_data("image/svg+xml", svg.encode())}">'
        f"<figcaption>{name}</figcaption></figure>"
        for name, svg in plots
    ]


def _examples(board: Leaderboard) -> list[str]:
    gains = {
        row.method: row.gains["object_IoU"].value
        for row in board.rows
        if "object_IoU" in row.gains and row.method != "coarse"
    }  # averages come after the sets, and so decide where there are any
    shown = sorted(gains, key=lambda name: -gains[name])[:SHOWN_METHODS]
    if not shown:
        return ["<p>No method has numbers.</p>"]
    found = []
    places = dict.fromkeys((entry.data.name, entry.seed) for entry, _ in board.entries)
    for name, seed in places:
        here = {
            entry.method: (entry, compared)
            for entry, compared in board.entries
            if (entry.data.name, entry.seed) == (name, seed) and compared is not None
        }
        methods = [method for method in shown if method in here]
        if methods and (name, seed) in board.samples:
            seeded = "" if seed is None else f", seed {seed}"
            found.append(f"<h3>{html.escape(name)}{seeded}</h3>")
            entry, compared = here[methods[0]]
            change = image_changes(entry, compared)
            for index in chosen_images(change):
                drawn = _draw(board, here, methods, index)
                text = f"{entry.cell.table.names[index]}: {methods[0]} {100 * change[index]:+.1f}"
                found.append(
                    f'<figure class="row"><img alt="" src="{_data("image/jpeg", drawn)}">'
                    f"<figcaption>{html.escape(text)} points of object IoU</figcaption></figure>"
                )
    return found


def image_changes(entry: Entry, compared: Compared) -> Doubles:
    """Return the mean change of object IoU of every picture; nan without objects."""
    images = len(entry.cell.table.names)
    objects = compared.method.objects
    total = np.bincount(objects.image, objects.iou - compared.coarse.objects.iou, minlength=images)
    count = np.bincount(objects.image, minlength=images)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def chosen_images(change: Doubles) -> list[int]:
    """Return the places of the largest, the median and the smallest change, without repeats.

    >>> chosen_images(np.array([0.1, np.nan, 0.3, -0.2]))
    [2, 0, 3]
    """
    order = [int(i) for i in np.argsort(-change, kind="stable") if not np.isnan(change[i])]
    return list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]])) if order else []


def _draw(
    board: Leaderboard,
    here: dict[str, tuple[Entry, Compared]],
    methods: Sequence[str],
    index: int,
) -> bytes:
    """Draw picture, truth, coarse mask and refined masks of one picture side by side; JPEG."""
    entry, compared = here[methods[0]]
    name = entry.cell.table.names[index]
    samples = {s.name: s for s in board.samples[entry.data.name, entry.seed]}
    image, coarse, target = read_sample(samples[name], entry.data)
    classes = compared.method.match.classes

    def as_classes(labels: LabelMap) -> LabelMap:
        found = np.full_like(labels, IGNORE)
        for source in np.unique(labels).tolist():
            found[labels == source] = classes.get(source, IGNORE)
        return found

    maps = [("truth", target), ("coarse", as_classes(coarse))]
    for method in methods:
        if here[method][0].cell.maps is not None:
            maps.append((method, as_classes(read_map(here[method][0].cell, index))))
    panels = [_panel(image, "picture")]
    for title, labels in maps:
        panels.append(_panel(draw_labels(image, labels, background=entry.data.background), title))
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.concatenate(panels, axis=1)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _panel(picture: Image, title: str) -> Image:
    height = max(1, round(picture.shape[0] * PANEL / picture.shape[1]))
    small = cv2.resize(picture, (PANEL, height), interpolation=cv2.INTER_AREA)
    framed = np.full((height + 22, PANEL + 6, 3), 255, np.uint8)
    framed[22:, :PANEL] = small
    text = title.encode("ascii", "replace").decode()
    cv2.putText(framed, text, (2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return framed


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
