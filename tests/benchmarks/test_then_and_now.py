"""The table of the default then and now, from stored rows."""

from __future__ import annotations

import pytest

from benchmarks.then_and_now import THEN, choose, table


def row(commit: str, gain: float, *sets: str, arguments: list[str] | None = None) -> dict:  # type: ignore[type-arg]
    ours = {"uosam": {"iou_gain": gain, "boundary_iou_gain": 2 * gain, "harmed": 0.05}}
    return {
        "commit": commit + "0000",
        "time": "2026-11-26T00:00:00",
        "arguments": arguments or [],
        "result": dict.fromkeys(sets, ours),
    }


def test_rows_of_the_default_stand_side_by_side() -> None:
    rows = [row(THEN, 0.04, "human"), row("b" * 7, 0.03, "human"), row("c" * 7, 0.06, "human", "x")]
    rows.append(row("d" * 7, 0.9, "human", arguments=["-c", "graphcut"]))
    text = table(*choose(rows))
    assert "| human | +4.0 / +8.0, 5.0 % | +6.0 / +12.0, 5.0 % | +2.0 / +4.0 |" in text
    assert "| x |  | +6.0 / +12.0, 5.0 % |  |" in text
    assert f"Rows of commit {THEN}, 2026-11-26, and commit ccccccc, 2026-11-26." in text
    with pytest.raises(ValueError, match=f"must hold a row of {THEN} and a later one"):
        choose(rows[:1])
