"""Depth made from truth is what its docstring says, and the arms of the comparison are as named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks.accuracy import Picture
from benchmarks.depth_guide import ARMS, change, config_of, refine_all, summary, table
from benchmarks.depth_pictures import draw_masks, draw_rows
from benchmarks.speed_depth import _frame
from benchmarks.synthetic_depth import FARTHEST, NEAREST, SIX, synthetic_depth, write_sets
from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.bench.plan import read_plan
from uosam.errors import InputError
from uosam.geometry.depth_map import decode
from uosam.geometry.render import make_guide
from uosam.io.depth import read_depth
from uosam.structures import IGNORE


def test_every_region_is_a_plane_of_its_own(scene: Scene) -> None:
    target = scene.target.copy()
    target[:3] = IGNORE
    depth = synthetic_depth(target, seed=3)
    assert np.array_equal(depth.z, synthetic_depth(target, seed=3).z, equal_nan=True)
    assert 0.005 < depth.holes < 0.2
    middles = []
    for label in (0, 1, 2):
        z = depth.z[(target == label) & depth.valid]
        middles.append(float(np.median(z)))
        v, u = np.nonzero((target == label) & depth.valid)
        plane = np.column_stack([u, v, np.ones(len(u))])
        fitted = plane @ np.linalg.lstsq(plane, z, rcond=None)[0]
        assert np.abs(z - fitted).std() < 0.02 * middles[-1]
    assert 0.7 * NEAREST < min(middles) < max(middles) < 1.3 * FARTHEST
    assert min(np.abs(np.diff(sorted(middles)))) > 0.5


def test_arms_differ_in_where_proposals_come_from(scene: Scene) -> None:
    noise = np.random.default_rng(0).integers(0, 256, scene.image.shape).astype(np.uint8)
    picture = Picture(image=noise, coarse=scene.coarse, target=scene.target)
    config, drawing = config_of("tiny", "inverse")
    guide = make_guide(synthetic_depth(scene.target), drawing)
    maps, found = refine_all(picture, 0, guide, FakeBackend(), config)
    assert tuple(maps) == ARMS
    assert maps["coarse"] is picture.coarse
    assert len(found["both"]) <= len(found["photo"]) + len(found["guide"])
    assert draw_masks(noise, found["guide"]).shape == noise.shape
    assert draw_masks(noise, found["guide"][:0]).shape == noise.shape
    means = {arm: {"iou": 0.5, "boundary_iou": 0.25} for arm in ARMS}
    assert table({"tiny/log": means}).splitlines()[-1].startswith("| tiny | log | 50.0 / 25.0 |")


def test_a_row_a_picture_is_drawn(scene: Scene, tmp_path: Path) -> None:
    picture = Picture(image=scene.image, coarse=scene.coarse, target=scene.target)
    guide = make_guide(synthetic_depth(scene.target))
    draw_rows(tmp_path / "rows.png", [(picture, guide)] * 2, "made-up depth", "graphcut", width=60)
    with PIL.Image.open(tmp_path / "rows.png") as drawn:
        assert drawn.size == (7 * 60 + 6 * 6, 26 + 2 * (40 + 6))


def test_changes_are_means_over_objects_with_bounds_over_pictures() -> None:
    before, after = (
        np.array([[0.5, 0.2], [0.7, 0.4]], np.float32),
        np.array([[0.8, 0.1]], np.float32),
    )
    rows = [dict.fromkeys(ARMS, before), dict.fromkeys(ARMS, after)]
    rows[0]["guide"] = before + np.float32(0.1)
    assert summary(rows)["images"] == 2
    assert summary(rows)["objects"] == 3
    assert np.isclose(summary(rows)["guide"]["iou"], (0.6 + 0.8 + 0.8) / 3)
    assert np.allclose(change(rows, "guide")["iou"], [0.2 / 3, 0.0, 0.1], atol=1e-6)
    assert change(rows, "photo")["boundary_iou"] == [0.0, 0.0, 0.0]


def test_sets_of_depth_are_those_of_the_plan(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UOSAM_SHARED", str(shared))
    monkeypatch.setenv("UOSAM_DEPTH", str(tmp_path))
    assert write_sets(tmp_path, 1) == 7
    plan = read_plan("depth", limit=1)
    assert [one.name for one in plan.sets] == ["examples", *SIX]
    for one in plan.sets:
        assert one.depth is not None
        (path,) = one.depth.glob("*.png")
        assert read_depth(path, "auto").kind == "metric"
        assert list(one.images.glob(f"{path.stem}.*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_sets(tmp_path / "file", 1)


def test_the_frame_that_is_timed_has_holes() -> None:
    assert 0.03 < decode(_frame(), "mm").holes < 0.05
