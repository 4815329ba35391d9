"""Gains set by set of the default of 0.1.0 and of today's, from stored rows into the docs.

``python -m benchmarks.then_and_now`` reads ``results/accuracy.jsonl``, measures nothing, and writes
a table into ``docs/leaderboard.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import accuracy
from benchmarks.marked import fill

PAGE = accuracy.TOP / "docs" / "leaderboard.md"
THEN = "a482081"
"""The commit that was released as 0.1.0."""


def choose(rows: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the row of 0.1.0 and the newest, both of the default.

    Raises:
        ValueError: one of them is missing.
    """
    defaults = [row for row in rows if not row["arguments"]]
    then = [row for row in defaults if row["commit"].startswith(THEN)]
    if not then or then[-1] is defaults[-1]:
        raise ValueError(f"the results must hold a row of {THEN} and a later one of the default")
    return then[-1], defaults[-1]


def table(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return gains in object IoU and object boundary IoU, and harm, of both, set by set."""
    lines = [
        "| set | 0.1.0: IoU / boundary IoU, harmed | now | change |",
        "|---|---|---|---|",
    ]
    for name, numbers in now["result"].items():
        before = then["result"].get(name)
        change = ""
        if before is not None:
            points = [
                100 * (numbers["uosam"][key] - before["uosam"][key])
                for key in ("iou_gain", "boundary_iou_gain")
            ]
            change = f"{points[0]:+.1f} / {points[1]:+.1f}"
        lines.append(f"| {name} | {_cell(before)} | {_cell(numbers)} | {change} |")
    said = [f"commit {row['commit'][:7]}, {row['time'][:10]}" for row in (then, now)]
    lines += ["", f"Rows of {said[0]}, and {said[1]}."]
    return "\n".join(lines)


def _cell(numbers: Mapping[str, Any] | None) -> str:
    if numbers is None:
        return ""
    ours = numbers["uosam"]
    gains = f"{100 * ours['iou_gain']:+.1f} / {100 * ours['boundary_iou_gain']:+.1f}"
    return f"{gains}, {100 * ours['harmed']:.1f} %"


def main() -> None:
    """Fill the page."""
    lines = accuracy.RESULTS.read_text(encoding="utf-8").splitlines()
    content = table(*choose([json.loads(line) for line in lines]))
    page = fill(PAGE.read_text("utf-8"), content, "then and now", PAGE.name)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
