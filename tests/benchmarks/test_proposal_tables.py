"""Tables of proposals and votes: limits beside SAM's, and time beside the local stage's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import proposal_tables, proposals, votes
from benchmarks.network_scores import NUMBERS

COMMON = {"commit": "0123456789", "time": "2026-11-26T00:00:00", "model": "tiny"}
LIMITS = [
    {"min_score": 0.86, "min_stability": 0.92, "per_picture": 1.2, "good": 1.0, "kept": 0.04},
    {"min_score": 0.7, "min_stability": 0.5, "per_picture": 13.2, "good": 0.67, "kept": 0.28},
]
FOUND = {"recall": [0.1, 0.2, 0.3], "regions": 150, "pictures": 18, "seconds": 5.7}
SCORE = {"gain": -0.001, "interval": [-0.002, 0.003]}
VOTED = {"images": 40, "embed": 0.1, "local": 0.4, "grids": {}}


def test_the_newest_rows_fill_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {**COMMON, "result": {**FOUND, "limits": LIMITS[:1], "seconds": 9.0}},
        {**COMMON, "result": {**FOUND, "limits": LIMITS}},
        {
            **COMMON,
            "model": "graphcut",
            "result": {**FOUND, "limits": [{**LIMITS[1], "good": 0.5}]},
        },
    ]
    path = tmp_path / "proposals.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    grids = {"8": {"seconds": 0.6, "scores": dict.fromkeys(NUMBERS, SCORE)}}
    row = {**COMMON, "settings": [], "result": {**VOTED, "grids": grids}}
    other = {**row, "settings": ["global_region.min_score=0"], "commit": "9876543210"}
    voted = tmp_path / "votes.jsonl"
    voted.write_text("".join(json.dumps(each) + "\n" for each in (row, other)))
    page = tmp_path / "page.md"
    page.write_text("top\n<!-- proposals: begin -->\nold\n<!-- proposals: end -->\nbottom\n")
    monkeypatch.setattr(proposal_tables, "PAGE", page)
    monkeypatch.setattr(proposals, "RESULTS", path)
    monkeypatch.setattr(votes, "RESULTS", voted)
    proposal_tables.main()
    text = page.read_text()
    assert text.startswith("top\n<!-- proposals: begin -->\n| segmenter |")
    assert text.endswith("<!-- proposals: end -->\nbottom\n")
    assert "| 10.0 | 20.0 | 30.0 | 5.7 | 0.7, 0.5 | 13.2 | 67 % | 28 % | 1.2, 4 % |" in text
    assert "| graphcut | 10.0 | 20.0 | 30.0 | 5.7 | none | | | |  |" in text
    assert "| tiny on 40 | 8 | -0.1 (-0.2 to +0.3) |" in text
    assert "| 0.60 (1.5 times) | 0.40 |" in text
    assert "tiny on 40: masks of the network, commit 0123456, 2026-11-26." in text


def test_no_rows_leave_nothing(tmp_path: Path) -> None:
    assert proposal_tables.newest(tmp_path / "none.jsonl") == {}
    assert proposal_tables.text({}, {}) == ""
