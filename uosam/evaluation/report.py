"""Evaluation results for the eye: terminal tables, plain text and Markdown. Computes no score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from uosam.evaluation.types import Evaluation, MethodResult
from uosam.metrics.bootstrap import Interval
from uosam.text import printable
from uosam.text import to_markdown as escape

if TYPE_CHECKING:
    from rich.console import RenderableType

TITLES = {
    "mIoU": "mIoU",
    "boundary_mIoU": "boundary mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_precision": "mean precision",
    "image_accuracy": "image accuracy",
    "F_beta": "F-beta",
    "object_IoU": "object IoU",
    "object_boundary_IoU": "object boundary IoU",
    "object_boundary_F": "object boundary F",
}
"""Names of scores in tables; others are printed as they are."""


def score_table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the table of scores, a column for each method."""
    keys = list(dict.fromkeys(k for m in evaluation.methods for k in m.summary.scores))
    rows = [
        [TITLES.get(key, key), *(_cell(method, key) for method in evaluation.methods)]
        for key in keys
    ]
    if any(method.threshold is not None for method in evaluation.methods):
        cuts = [f"{method.threshold:g}" for method in evaluation.methods]
        rows.append(["threshold", *cuts])
    names = [method.names for method in evaluation.methods if method.names is not None]
    if names:
        rows += [
            ["mIoU by names", *(f"{100 * one.miou:.2f}" for one in names)],
            ["ids named right", *(f"{one.right} of {one.ids}" for one in names)],
            ["pixels named right", *(f"{100 * one.pixels:.2f}" for one in names)],
        ]
    return ["score", *(method.name for method in evaluation.methods)], rows


def comparison_table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the differences to the first method, a column for each other.

    A difference is printed with its interval and marked where the interval contains 0.
    """
    header = [f"against {evaluation.methods[0].name}", *(c.name for c in evaluation.comparisons)]
    keys = list(evaluation.comparisons[0].differences) if evaluation.comparisons else []
    rows = [
        [TITLES.get(key, key), *(_difference(c.differences[key]) for c in evaluation.comparisons)]
        for key in keys
    ]
    for title, attribute in (
        ("images made worse", "images_worse"),
        ("objects made worse", "objects_worse"),
        ("objects worse by > 1 point", "objects_worse_1"),
    ):
        shares = [100 * getattr(c, attribute) for c in evaluation.comparisons]
        cells = ["-" if math.isnan(share) else f"{share:.1f} %" for share in shares]
        rows.append([title, *cells])
    return header, rows


def _cell(method: MethodResult, key: str) -> str:
    value = 100 * method.summary.scores[key].value()
    if math.isnan(value):
        return "-"
    interval = method.intervals.get(key)
    if interval is None or math.isnan(interval.low):
        return f"{value:.2f}"
    return f"{value:.2f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def _difference(interval: Interval) -> str:
    text = f"{100 * interval.value:+.2f}"
    if math.isnan(interval.value):
        return "-"
    if math.isnan(interval.low) or interval.low == interval.high == 0:
        return text
    noise = " (may be noise)" if interval.low <= 0 <= interval.high else ""
    return f"{text} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]{noise}"


def to_markdown(evaluation: Evaluation) -> str:
    """Return the tables and notes as Markdown."""
    tables = [score_table(evaluation)]
    if evaluation.comparisons:
        tables.append(comparison_table(evaluation))
    parts = [_caption(evaluation)]
    for header, rows in tables:
        rule = ["---", *("---:" for _ in header[1:])]
        named = [escape(title) for title in header]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in (named, rule, *rows)))
    parts += [f"* {escape(note)}" for note in evaluation.notes]
    return "\n\n".join(parts) + "\n"


def to_plain(evaluation: Evaluation) -> str:
    """Return the tables and notes as aligned text without colours or frames."""
    tables = [score_table(evaluation)]
    if evaluation.comparisons:
        tables.append(comparison_table(evaluation))
    parts = [_caption(evaluation)]
    for header, rows in tables:
        cells = [header, *rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
        lines = []
        for row in cells:
            first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join([row[0].ljust(len(first)), *rest]))
        parts.append("\n".join(lines))
    parts += [f"note: {note}" for note in evaluation.notes]
    return printable("\n\n".join(parts)) + "\n"


def to_rich(evaluation: Evaluation) -> Sequence[RenderableType]:
    """Return the tables and notes for a terminal."""
    from rich.table import Table
    from rich.text import Text

    shown: list[RenderableType] = []
    tables = [score_table(evaluation)]
    if evaluation.comparisons:
        tables.append(comparison_table(evaluation))
    for index, (header, rows) in enumerate(tables):
        title = None if index else Text(_caption(evaluation))
        table = Table(title=title, title_justify="left")
        for column, heading in enumerate(header):
            table.add_column(
                Text(printable(heading)), justify="right" if column else "left", overflow="fold"
            )
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))  # brackets are no markup
        shown.append(table)
    return [*shown, *(Text(printable(f"note: {note}")) for note in evaluation.notes)]


def _caption(evaluation: Evaluation) -> str:
    protocol, count = evaluation.protocol, len(evaluation.images)
    options = evaluation.options
    level = f", {100 * options.level:g} % intervals" if options.resamples else ""
    return (
        f"{options.protocol}: {count} images, percent{level}; "
        f"boundary {protocol.boundary_ratio:g} of the diagonal, matching {protocol.matching}"
    )
