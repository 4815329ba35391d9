"""``uosam coarse IMAGES OUT --k K``: something to refine without a USS model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from tests.bench_sets import write_set
from uosam.cli import build_app
from uosam.errors import BackendError, ConfigError
from uosam.io.codecs import LabelOptions, read_with
from uosam.runs import coarse_models
from uosam.runs.coarse_models import choose_clusters


def coarse(*arguments: str):
    return CliRunner().invoke(build_app(), ["coarse", *arguments])


def test_k_classes_over_the_whole_set(tmp_path: Path) -> None:
    toy = write_set(tmp_path / "toy", 2)
    out = tmp_path / "out"
    fake = ["-s", "backend=tests.fakes:load"]
    result = coarse(str(toy / "images"), str(out), "--k", "3", *fake)
    assert result.exit_code == 0, result.output
    maps = [
        read_with(path, LabelOptions(ignore="none")).labels for path in sorted(out.glob("*.png"))
    ]
    assert len(maps) == 2
    assert set(np.unique(maps)) == {0, 1, 2}
    # A class keeps its number from picture to picture: corner, disc and box.
    for y, x in ((2, 2), (30, 24), (34, 70)):
        assert maps[0][y, x] == maps[1][y, x]
    again = coarse(str(toy / "images"), str(out), "--model", "kmeans", "-s", "classes=3", *fake)
    assert "2 by an earlier run" in again.output


def test_faults(tmp_path: Path) -> None:
    neither = coarse(str(tmp_path), str(tmp_path / "out"))
    assert isinstance(neither.exception, ConfigError)
    assert "give --model NAME, or --k K for k-means" in str(neither.exception)
    both = coarse(str(tmp_path), str(tmp_path / "out"), "--k", "3", "--model", "pass")
    assert "--k is for k-means, got --model pass" in str(both.exception)


def test_k_takes_the_better_features_where_they_are(tmp_path: Path, monkeypatch) -> None:
    toy = write_set(tmp_path / "toy", 2)
    monkeypatch.setattr(coarse_models, "PRETRAINED", f"{__name__}:present")
    with_encoder = ["-s", "encoder=tests.coarse_models:columns", "--over", "2"]
    result = coarse(str(toy / "images"), str(tmp_path / "out"), "--k", "3", *with_encoder)
    assert result.exit_code == 0, result.output
    assert "features that learnt ImageNet's labels" in result.output
    assert "--background none" in result.output
    stored = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()[0]
    assert '"model":"clusters"' in stored.replace(" ", "")
    monkeypatch.setattr(coarse_models, "PRETRAINED", f"{__name__}:absent")
    assert choose_clusters({}) == "kmeans"
    alone = coarse(str(tmp_path), str(tmp_path / "o"), "--k", "3", "--over", "2")
    assert isinstance(alone.exception, ConfigError)
    assert "--over is for --model clusters, got kmeans" in str(alone.exception)


def present() -> Path:
    return Path()


def absent() -> Path:
    raise BackendError("not installed")
