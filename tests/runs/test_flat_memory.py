"""A run holds no picture that is done, and no row of it; what it cannot write it keeps."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest

from benchmarks.million import Nothing, make_files
from uosam.io.pairs import find_pairs
from uosam.runs import summary
from uosam.runs.engine import run_folder
from uosam.runs.manifest import MANIFEST
from uosam.runs.task import Outcome


def test_what_is_done_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "TIMED", 50)
    make_files(tmp_path, 300, content=b"x")
    pairs = find_pairs(tmp_path / "images", tmp_path / "masks")
    alive = []

    def count(outcome: Outcome) -> None:
        if outcome.row["name"].endswith(("050", "250")):
            gc.collect()
            alive.append(sum(type(one) is Outcome for one in gc.get_objects()))

    run = run_folder(Nothing(folder=tmp_path / "out"), pairs.samples, on_outcome=count)
    assert run.status == {"copied": 300}
    assert run.counts == {"number": 300}
    assert len(run.times) == 50
    assert len(alive) == 2
    assert max(alive) <= 6
    again = run_folder(Nothing(folder=tmp_path / "out"), pairs.samples, on_outcome=count)
    assert again.skipped == 300
    assert max(alive) <= 6


def test_a_line_that_a_full_disk_did_not_take_is_in_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uosam.runs import journal

    make_files(tmp_path, 9, content=b"x")
    pairs = find_pairs(tmp_path / "images", tmp_path / "masks")
    run_folder(Nothing(folder=tmp_path / "whole"), pairs.samples)
    append = journal._append

    def full(file, row) -> None:
        if row.get("name", "")[-1:] in ("0", "3", "8"):
            raise OSError(28, "No space left on device")
        append(file, row)

    monkeypatch.setattr(journal, "_append", full)
    run_folder(Nothing(folder=tmp_path / "out"), pairs.samples)
    text = (tmp_path / "out" / MANIFEST).read_text()
    assert text == (tmp_path / "whole" / MANIFEST).read_text()
    assert len([json.loads(line) for line in text.splitlines()]) == 10
