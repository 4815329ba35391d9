"""A leaderboard as tables: terminal, Markdown, CSV and LaTeX. Computes no score."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from uosam.bench.scores import BenchRow
from uosam.evaluation.report import TITLES
from uosam.metrics.bootstrap import MIN_IMAGES, Interval
from uosam.text import printable
from uosam.text import to_markdown as to_text

if TYPE_CHECKING:
    from rich.table import Table

SCORES = (
    "mIoU",
    "boundary_mIoU",
    "image_accuracy",
    "F_beta",
    "pixel_accuracy",
    "object_IoU",
    "object_boundary_IoU",
)
SHOWN_GAINS = ("object_IoU", "object_boundary_IoU")
"""Scores whose gain has a column of its own in tables for people; the CSV has all of them."""

SHORT = {**TITLES, "image_accuracy": "Img-Acc", "pixel_accuracy": "pAcc"}

CAPTION = (
    "Scores and gains in percent; gains are over the coarse masks, with 95 % intervals over "
    f"pictures, none from fewer than {MIN_IMAGES}; n counts pictures / objects. Harmed: objects "
    "that lose more than one point of IoU. Rows marked published are as printed in their sources, "
    "not reproduced here."
)


def table_cells(rows: Sequence[BenchRow]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells for people; columns that no row fills are left out."""
    names = [name for name in SCORES if any(name in row.scores for row in rows)]
    measured = any(row.kind == "measured" for row in rows)
    gains = [name for name in SHOWN_GAINS if any(name in row.gains for row in rows)]
    header = ["", "set", "method"]
    seeded = any(row.seed is not None for row in rows)
    if seeded:
        header.append("seed")
    if measured:
        header.append("n")
    for name in names:
        header.append(SHORT[name])
        if name in gains:
            header.append("gain [95 %]")
    if measured:
        header += ["harmed", "s / picture", "MB"]
    noted = any(row.note for row in rows)
    cells = []
    for row in rows:
        line = ["published" if row.kind == "published" else "", row.data, row.method]
        if seeded:
            line.append("" if row.seed is None else str(row.seed))
        if measured:
            line.append("" if row.images is None else f"{row.images} / {row.objects}")
        for name in names:
            line.append(_percent(row.scores.get(name)))
            if name in gains:
                line.append("" if row.method == "coarse" else _gain(row.gains.get(name)))
        if measured:
            line += [_percent(row.harmed), _number(row.seconds, ".2f"), _number(row.peak_mb, ".0f")]
        cells.append([*line, row.note] if noted else line)
    return ([*header, "note"] if noted else header), cells


def to_markdown(rows: Sequence[BenchRow]) -> str:
    """Return the leaderboard as a Markdown table with its caption."""
    header, cells = table_cells(rows)
    rule = ["---" if title in _TEXT else "---:" for title in header]
    shown = [
        [
            to_text(cell) if title in _TEXT else cell
            for title, cell in zip(header, line, strict=True)
        ]
        for line in cells
    ]
    lines = [f"| {' | '.join(line)} |" for line in (header, rule, *shown)]
    return f"{CAPTION}\n\n" + "\n".join(lines) + "\n"


_TEXT = ("", "set", "method", "note")


def to_latex(rows: Sequence[BenchRow]) -> str:
    """Return the leaderboard as LaTeX, a table a set, for the packages booktabs and graphicx."""
    tables = []
    for data in dict.fromkeys(row.data for row in rows):
        header, cells = table_cells([row for row in rows if row.data == data])
        kept = [index for index, title in enumerate(header) if title != "set"]
        tables.append(latex_table(header, cells, kept, _TEXT, f"{data}. {CAPTION}"))
    return "\n".join(tables)


def latex_table(
    header: Sequence[str],
    cells: Sequence[Sequence[str]],
    kept: Sequence[int],
    text: Sequence[str],
    caption: str,
) -> str:
    """Return a LaTeX table, shrunk to the line if it is wider; notes are wrapped.

    Args:
        header: titles of all columns.
        cells: lines of as many texts.
        kept: columns that are shown.
        text: titles of columns set to the left; numbers are set to the right.
        caption: not escaped yet.
    """
    import pandas as pd

    frame = pd.DataFrame([[line[i] for i in kept] for line in cells])
    frame.columns = pd.Index([header[i] for i in kept])
    columns = {"note": "p{7cm}", **{title: "l" for title in text if title != "note"}}
    kinds = "".join(columns.get(header[i], "r") for i in kept)
    body = frame.to_latex(index=False, escape=True, column_format=kinds)
    escaped = re.sub(r"([%_&#$])", r"\\\1", caption)
    width = r"\ifdim\width>\linewidth\linewidth\else\width\fi"
    return (
        f"\\begin{{table}}\n\\caption{{{escaped}}}\n"
        f"\\resizebox{{{width}}}{{!}}{{%\n{body}}}\n\\end{{table}}\n"
    )


def to_records(rows: Sequence[BenchRow]) -> list[dict[str, Any]]:
    """Return a flat mapping for each row, with every number unrounded, in [0, 1]."""
    records = []
    for row in rows:
        record: dict[str, Any] = {
            "kind": row.kind,
            "set": row.data,
            "method": row.method,
            "seed": row.seed,
            "images": row.images,
            "objects": row.objects,
        }
        for name in SCORES:
            record[name] = row.scores.get(name)
            gain = row.gains.get(name)
            if name != "pixel_accuracy":
                record[f"{name}_gain"] = gain.value if gain else None
                record[f"{name}_gain_low"] = gain.low if gain else None
                record[f"{name}_gain_high"] = gain.high if gain else None
        record |= {"harmed": row.harmed, "seconds": row.seconds, "peak_mb": row.peak_mb}
        records.append({**record, "note": row.note})
    return records


def to_json(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as JSON text; null where a number is not defined."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and math.isnan(value) else value

    shown = [{key: plain(value) for key, value in record.items()} for record in records]
    return json.dumps(shown, indent=2, allow_nan=False) + "\n"


def to_csv(rows: Sequence[BenchRow]) -> str:
    """Return the leaderboard as CSV; what is not defined is empty."""
    import pandas as pd

    frame = pd.DataFrame(to_records(rows))
    for name in ("seed", "images", "objects"):
        frame[name] = frame[name].astype("Int64")
    return str(frame.to_csv(index=False, lineterminator="\n"))


def to_rich(rows: Sequence[BenchRow]) -> Table:
    """Return the leaderboard for a terminal."""
    from rich.table import Table
    from rich.text import Text

    header, cells = table_cells(rows)
    table = Table(caption=Text(CAPTION), caption_justify="left")
    for title in header:
        right = title not in _TEXT
        table.add_column(Text(title), justify="right" if right else "left", overflow="fold")
    for index, line in enumerate(cells):
        last = index + 1 == len(cells) or cells[index + 1][1] != line[1]
        table.add_row(*(Text(printable(cell)) for cell in line), end_section=last)
    return table


def _percent(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _gain(gain: Interval | None) -> str:
    """Write a gain with its interval.

    >>> _gain(Interval(value=0.0312, low=-0.01, high=0.0724, level=0.95))
    '+3.1 [-1.0, +7.2]'
    """
    if gain is None or math.isnan(gain.value):
        return ""
    if math.isnan(gain.low):  # too few pictures
        return f"{100 * gain.value:+.1f}"
    return f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
