"""The accuracy benchmark on a picture small enough to compute by hand, and README's table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks import accuracy
from tests.conftest import Scene
from uosam.errors import InputError
from uosam.structures import IGNORE


@pytest.fixture
def folder(tmp_path: Path, scene: Scene) -> Path:
    target = scene.target.astype(np.uint8)
    target[:8] = 255
    for name, array in (("images", scene.image), ("coarse", scene.coarse), ("gt", target)):
        (tmp_path / name).mkdir()
        for stem in "ab":
            PIL.Image.fromarray(array.astype(np.uint8)).save(tmp_path / name / f"{stem}.png")
    return tmp_path


def test_a_set_is_read_whole_or_in_part(folder: Path) -> None:
    pictures = accuracy.read_set(folder)
    assert len(pictures) == 2
    assert (pictures[0].target[:8] == IGNORE).all()
    assert not (pictures[0].coarse == IGNORE).any()
    assert len(accuracy.read_set(folder, 1)) == 1


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        accuracy.read_set(tmp_path)


def test_gains_harm_and_time(folder: Path) -> None:
    pictures = accuracy.read_set(folder)
    result = accuracy.measure(
        pictures,
        {
            "truth": lambda image, coarse, background: pictures[0].target,
            "nothing": lambda image, coarse, background: np.zeros_like(coarse),
        },
        0,
    )
    assert (result["images"], result["objects"]) == (2, 4)
    assert result["truth"]["iou"] == result["truth"]["boundary_iou"] == 1
    assert result["truth"]["harmed"] == 0
    assert result["nothing"]["harmed"] == 1
    coarse = result["coarse"]["iou"]
    assert result["truth"]["iou_gain"] == pytest.approx(1 - coarse)
    # Two pictures are too few for an interval.
    assert np.isnan(result["nothing"]["iou_interval"]).all()
    assert 0 <= result["truth"]["seconds_median"] < 1


def test_readme_holds_the_last_stored_row() -> None:
    text = accuracy.README.read_text(encoding="utf-8")
    assert accuracy.fill_readme(text, accuracy.last_row()) == text


def test_readme_without_markers() -> None:
    with pytest.raises(InputError, match="must hold the lines"):
        accuracy.fill_readme("# uosam", accuracy.last_row())


def test_partial_runs_are_not_for_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "RESULTS", tmp_path / "accuracy.jsonl")
    with pytest.raises(InputError, match="whole run"):
        accuracy.last_row()
    row = {"part": "val", "arguments": ["--limit", "3"]}
    accuracy.RESULTS.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="whole run"):
        accuracy.last_row()
