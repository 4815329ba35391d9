"""The default of 0.1.0 beside today's: scores of both, their tables, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import then_and_now
from benchmarks.accuracy import Picture
from tests.conftest import Scene
from uosam.errors import InputError
from uosam.labels import iou


def test_both_are_compared_object_by_object(scene: Scene) -> None:
    pictures = [Picture(image=scene.image, coarse=scene.coarse, target=scene.target)] * 2
    maps = {"then": [scene.target, scene.coarse], "now": [scene.target, 0 * scene.target]}
    entry = then_and_now.compare(pictures, maps, 0)
    before = [iou(scene.coarse == label, scene.target == label) for label in (1, 2)]
    assert entry["objects"] == 4
    assert entry["coarse"][0] == pytest.approx(np.mean(before))
    assert entry["then"]["gains"][0] == pytest.approx((1 - np.mean(before)) / 2)
    assert entry["then"]["harmed"] == 0
    assert entry["now"]["harmed"] == 0.5
    assert entry["change"][0][0] == pytest.approx(-np.mean(before) / 2)
    for when in ("then", "now"):
        entry[when]["seconds"] = 0.25
    sets = {"some": entry, "again": entry}
    row = {"commit": "c" * 40, "time": "2026-11-27T00:00:00"}
    text = then_and_now.page({**row, "result": {"imitated": sets, "near": sets}})
    assert text.count("| some | 4 | ") == 2
    assert text.count("| **mean of sets** | 8 | ") == 2
    assert f", 50.0 % | {-50 * np.mean(before):+.1f} [" in text
    assert "0.1.0 is commit a482081, now ccccccc, 2026-11-27." in text
    assert "0.25 and 0.25" in text


def test_maps_of_every_picture_are_asked_for(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), np.full((2, 3), 300, np.uint16))
    assert np.array_equal(then_and_now.read_maps(tmp_path, 1)[0], np.full((2, 3), 300))
    with pytest.raises(InputError, match=r"must hold 2 maps, got 1; make them with 0\.1\.0"):
        then_and_now.read_maps(tmp_path, 2)


def test_rows_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(then_and_now, "RESULTS", tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"must hold a row, run benchmarks\.then_and_now --maps"):
        then_and_now.last_row()
