"""An ablation as the table of a paper, and accuracy against the number of proposals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from uosam.bench.ablate import SCORES, AblationRow
from uosam.bench.plots import accuracy_against_grid
from uosam.bench.report import SHORT, latex_table
from uosam.metrics.bootstrap import MIN_IMAGES, Interval
from uosam.text import to_markdown as escape

if TYPE_CHECKING:
    from rich.table import Table

CAPTION = (
    "Averages over sets in percent; changes are against the full configuration, with 95 % "
    "intervals over pictures, and marked * where the interval does not hold 0; fewer than "
    f"{MIN_IMAGES} pictures have neither. Harmed: objects that lose more than one point of IoU "
    "against the coarse masks."
)

_TEXT = ("", "variant", "settings", "note")


def ablation_cells(rows: Sequence[AblationRow]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells for people; a group is named in its first line."""
    keys = [key for key in SCORES if any(key in row.scores for row in rows)]
    header = ["", "variant"]
    for key in keys:
        header += [SHORT[key], "change [95 %]"]
    header += ["harmed", "s / picture", "settings"]
    noted = any(row.note for row in rows)
    cells, last = [], ""
    for row in rows:
        line = [row.variant.group if row.variant.group != last else "", row.variant.name]
        last = row.variant.group
        for key in keys:
            score = row.scores.get(key)
            line += [f"{100 * score.value:.1f}" if score else "", _change(row.changes.get(key))]
        line.append("" if math.isnan(row.harmed) else f"{100 * row.harmed:.1f}")
        line.append("" if math.isnan(row.seconds) else f"{row.seconds:.2f}")
        line.append(", ".join(row.variant.overrides))
        cells.append([*line, row.note] if noted else line)
    return ([*header, "note"] if noted else header), cells


def to_markdown(rows: Sequence[AblationRow]) -> str:
    """Return the ablation as a Markdown table with its caption."""
    header, cells = ablation_cells(rows)
    rule = ["---" if title in _TEXT else "---:" for title in header]
    shown = [
        [escape(cell) if title in _TEXT else cell for title, cell in zip(header, line, strict=True)]
        for line in cells
    ]
    lines = [f"| {' | '.join(line)} |" for line in (header, rule, *shown)]
    return f"{CAPTION}\n\n" + "\n".join(lines) + "\n"


def to_latex(rows: Sequence[AblationRow]) -> str:
    """Return the ablation as LaTeX for booktabs and graphicx; settings are left out."""
    header, cells = ablation_cells(rows)
    kept = [index for index, title in enumerate(header) if title != "settings"]
    return latex_table(header, cells, kept, _TEXT, CAPTION)


def to_records(rows: Sequence[AblationRow]) -> list[dict[str, Any]]:
    """Return a flat mapping for each row, with every number unrounded, in [0, 1]."""
    records = []
    for row in rows:
        record: dict[str, Any] = {
            "group": row.variant.group,
            "variant": row.variant.name,
            "settings": " ".join(row.variant.overrides),
        }
        for key in SCORES:
            for kind, found in (("", row.scores.get(key)), ("_change", row.changes.get(key))):
                for end in ("value", "low", "high"):
                    name = f"{key}{kind}" + ("" if end == "value" else f"_{end}")
                    record[name] = getattr(found, end) if found else None
        records.append({**record, "harmed": row.harmed, "seconds": row.seconds, "note": row.note})
    return records


def to_csv(rows: Sequence[AblationRow]) -> str:
    """Return every number unrounded, in [0, 1]; what is not defined is empty."""
    import pandas as pd

    return str(pd.DataFrame(to_records(rows)).to_csv(index=False, lineterminator="\n"))


def to_rich(rows: Sequence[AblationRow]) -> Table:
    """Return the ablation for a terminal."""
    from rich.table import Table
    from rich.text import Text

    header, cells = ablation_cells(rows)
    table = Table(caption=Text(CAPTION), caption_justify="left")
    for title in header:
        right = title not in _TEXT
        table.add_column(Text(title), justify="right" if right else "left", overflow="fold")
    for index, line in enumerate(cells):
        last = index + 1 == len(cells) or bool(cells[index + 1][0])
        table.add_row(*(Text(cell) for cell in line), end_section=last)
    return table


def plot_proposals(rows: Sequence[AblationRow]) -> str | None:
    """Plot object IoU over the number of proposals; None if the grid does not vary them.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    points = {
        row.variant.grid: row.scores["object_IoU"]
        for row in rows
        if row.variant.grid is not None and "object_IoU" in row.scores
    }
    return accuracy_against_grid(points, "object IoU, percent") if len(points) > 1 else None


def _change(change: Interval | None) -> str:
    """Write a change with its interval, marked where it is more than noise.

    >>> _change(Interval(value=-0.02, low=-0.03, high=-0.01, level=0.95))
    '-2.0 [-3.0, -1.0]*'
    """
    if change is None or math.isnan(change.value):
        return ""
    if math.isnan(change.low):  # too few pictures
        return f"{100 * change.value:+.1f}"
    mark = "*" if change.low > 0 or change.high < 0 else ""
    low, high = 100 * change.low, 100 * change.high
    return f"{100 * change.value:+.1f} [{low:+.1f}, {high:+.1f}]{mark}"
