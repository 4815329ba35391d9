"""Baselines without a network: GrabCut, and doing nothing."""

from __future__ import annotations

import numpy as np
import pytest
from uosam.baselines.grabcut import refine_grabcut
from uosam.baselines.identity import refine_identity

from tests.conftest import Scene
from uosam.errors import InputError
from uosam.labels import iou
from uosam.structures import IGNORE

BASELINES = (refine_grabcut, refine_identity)


@pytest.mark.parametrize("baseline", BASELINES)
def test_sizes_must_agree_and_the_input_is_not_written(baseline, scene: Scene) -> None:
    before = scene.coarse.copy()
    labels = baseline(scene.image, scene.coarse)
    assert labels.dtype == np.int32
    assert labels is not scene.coarse
    assert np.array_equal(scene.coarse, before)
    with pytest.raises(InputError, match="64"):
        baseline(scene.image, scene.coarse[:50])


@pytest.mark.parametrize("baseline", BASELINES)
def test_the_same_input_gives_the_same_map(baseline, scene: Scene) -> None:
    first = baseline(scene.image, scene.coarse)
    assert np.array_equal(first, baseline(scene.image, scene.coarse))


def test_identity_returns_the_coarse_map(scene: Scene) -> None:
    assert np.array_equal(refine_identity(scene.image, scene.coarse), scene.coarse)


@pytest.mark.parametrize("background", [0, None])
def test_grabcut_draws_objects_closer(scene: Scene, background: int | None) -> None:
    labels = refine_grabcut(scene.image, scene.coarse, background=background)
    assert set(np.unique(labels)) <= {0, 1, 2}
    for label in (1, 2):
        target = scene.target == label
        assert iou(labels == label, target) > iou(scene.coarse == label, target) + 0.05


def test_grabcut_leaves_ignored_pixels_and_small_or_whole_objects(scene: Scene) -> None:
    coarse = scene.coarse.copy()
    coarse[:5] = IGNORE
    coarse[50:54, 40:44] = 7
    labels = refine_grabcut(scene.image, coarse)
    assert np.array_equal(labels == IGNORE, coarse == IGNORE)
    assert np.array_equal(labels == 7, coarse == 7)
    whole = np.ones_like(coarse)
    assert np.array_equal(refine_grabcut(scene.image, whole), whole)
