"""Masks that are nearly right: made the same every time, near the truth, and tabled."""

from __future__ import annotations

import numpy as np

from benchmarks.accuracy import Picture, measure
from benchmarks.near import nearly_right, table
from tests.conftest import Scene
from uosam.labels import iou
from uosam.structures import IGNORE


def test_masks_are_near_the_truth_and_the_same_every_time(scene: Scene) -> None:
    target = scene.target.copy()
    target[:2] = IGNORE
    picture = Picture(image=scene.image, coarse=scene.coarse, target=target)
    made = [nearly_right([picture, picture]) for _ in range(2)]
    for one, other in zip(*made, strict=True):
        assert np.array_equal(one.coarse, other.coarse)
        assert (one.coarse >= 0).all()
        for label in (1, 2):
            near = iou(one.coarse == label, target == label)
            assert 0.85 < near < 1
            assert near > iou(scene.coarse == label, target == label)
    assert not np.array_equal(made[0][0].coarse, made[0][1].coarse)


def test_the_table_tells_gain_and_harm(scene: Scene) -> None:
    pictures = nearly_right([Picture(image=scene.image, coarse=scene.coarse, target=scene.target)])
    result = {
        "kept": measure(pictures, {"uosam": lambda image, coarse, background: coarse}, 0),
        "lost": measure(pictures, {"uosam": lambda image, coarse, background: 0 * coarse}, 0),
    }
    rows = table(result).splitlines()
    assert rows[2].endswith("| +0.0 / +0.0 | 0.0 % |")
    assert rows[3].endswith("| 100.0 % |")
    assert rows[4].endswith("| 50.0 % |")
