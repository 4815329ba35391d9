"""Regions are cut out of maps, and views out of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Scene
from uosam.errors import InputError
from uosam.regions.crops import (
    crop_view,
    cut,
    draw_lots,
    find_regions,
    masked_view,
    region_of,
    ssa_box,
    whole_mask,
)
from uosam.structures import IGNORE


def test_boxes_are_those_of_ssa(shared: Path) -> None:
    golden = json.loads((shared / "golden/ssa/crops.json").read_text())
    assert len(golden["crops"]) == 27
    for case in golden["crops"]:
        x, y, width, height = (int(side) for side in case["bbox_xywh"])
        found = ssa_box((x, y, x + width, y + height), case["scale"], golden["image_hw"])
        assert list(found) == case["crop_x0y0x1y1_inclusive"]


def test_the_parts_of_a_map_are_its_regions(scene: Scene) -> None:
    regions = find_regions(scene.target, "a", background=0)
    assert [(region.label, region.component) for region in regions] == [(1, 0), (2, 0)]
    for region in regions:
        np.testing.assert_array_equal(
            whole_mask(region, scene.target.shape), scene.target == region.label
        )
    assert regions[1].box == (58, 18, 83, 49)
    assert regions[1].share == pytest.approx(26 * 32 / (64 * 96))
    assert [region.label for region in find_regions(scene.target, "a")] == [0, 1, 2]


def test_small_and_many_parts_are_left_out() -> None:
    labels = np.full((20, 100), IGNORE, np.int32)
    for number in range(5):
        labels[2 : 6 + number, 20 * number : 20 * number + 5] = 7
    labels[19, 99] = 3
    regions = find_regions(labels, "a")
    assert [region.box[0] for region in regions] == [80, 60, 40]
    assert [region.component for region in regions] == [0, 1, 2]
    assert [r.label for r in find_regions(labels, "a", min_area=0)] == [3, 7, 7, 7]
    with pytest.raises(InputError, match="empty mask"):
        region_of(np.zeros((3, 3), bool), "a", 0)


def test_lots_do_not_depend_on_the_order() -> None:
    mask = np.ones((1, 1), bool)
    regions = [region_of(mask, f"{n:03d}", n % 2) for n in range(60)]
    shuffled = [regions[index] for index in np.random.default_rng(0).permutation(60)]
    kept = draw_lots(shuffled, 10)
    assert kept == draw_lots(regions, 10)
    assert [sum(r.label == label for r in kept) for label in (0, 1)] == [10, 10]
    assert [r.picture for r in kept] == sorted(r.picture for r in kept)
    # A lot, not the first ones.
    assert kept[-1].picture > "040"


def test_views_are_squares_around_the_region(scene: Scene) -> None:
    region = find_regions(scene.target, "a", background=0)[1]
    grey = (9, 9, 9)
    crop = crop_view(scene.image, region, grey)
    box = ssa_box(region.box, 1.2, scene.image.shape[:2])
    height, width = cut(scene.image, box).shape[:2]
    assert crop.shape == (height, height, 3)
    left = (height - width) // 2
    assert left == 4
    assert (crop[:, :left] == 9).all()
    np.testing.assert_array_equal(crop[:, left : left + width], cut(scene.image, box))
    disc = find_regions(scene.target, "a", background=0)[0]
    masked = masked_view(scene.image, disc, grey)
    assert masked.shape == (31, 31, 3)
    np.testing.assert_array_equal(masked[disc.mask], cut(scene.image, disc.box)[disc.mask])
    assert (masked[~disc.mask] == 9).all()
