"""The benchmark of votes: gains are over the local stage, and both are timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks import votes
from benchmarks.network import declared
from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.bench.leaderboard import find_samples
from uosam.config import load_config


def test_votes_are_scored_over_the_local_stage(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = {"gt": scene.target, "coarse_network": scene.coarse}
    for name, labels in maps.items():
        (tmp_path / name).mkdir()
        PIL.Image.fromarray(labels.astype(np.uint8)).save(tmp_path / name / "a.png")
    (tmp_path / "images").mkdir()
    PIL.Image.fromarray(scene.image).save(tmp_path / "images" / "a.png")
    where = declared(tmp_path)
    monkeypatch.setattr(votes, "declared", lambda folder: where)
    # Without the local stage the coarse map is voted on, and the segments of the scene mend it.
    config = load_config(None, ["local_region.enabled=false"])
    found = votes.measure(find_samples(where), FakeBackend(), config, [0, 8])
    assert found["images"] == 1
    assert found["local"] >= 0
    still, voted = found["grids"]["0"], found["grids"]["8"]
    assert still["scores"]["mIoU"]["gain"] == 0
    assert voted["scores"]["mIoU"]["gain"] > 0.02
    assert voted["seconds"] > still["seconds"]
