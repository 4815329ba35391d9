"""Recall of true regions by proposals: what is a region, and how recall is counted."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.proposals import (
    LEVELS,
    best_recalls,
    overlaps,
    propose,
    spread,
    true_regions,
)
from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.structures import IGNORE


def test_regions_are_connected_and_of_all_maps() -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[5:20, 5:20] = 3
    labels[5:20, 30:50] = 3  # apart: another region
    labels[30:34, 0:4] = 7  # too small
    labels[38:] = IGNORE
    assert len(true_regions([labels], 0)) == 2
    assert len(true_regions([labels], None)) == 3  # the background is one as well
    assert len(true_regions([labels, np.where(labels > 0, labels + 1, labels)], 0)) == 4
    assert true_regions([labels * 0], 0).shape == (0, 40, 60)


def test_recall_counts_the_best_of_the_first_proposals() -> None:
    overlap = np.zeros((120, 2), np.float32)
    overlap[3, 0] = 0.72
    overlap[50, 0] = 1.0
    overlap[110, 1] = 0.5
    shares = best_recalls(overlap)
    assert shares[0] == pytest.approx([(LEVELS <= 0.72).mean(), 1, 1])
    assert shares[1] == pytest.approx([0, 0, 1 / len(LEVELS)])
    assert best_recalls(np.zeros((0, 2), np.float32)).tolist() == [[0, 0, 0]] * 2


def test_overlaps_are_iou() -> None:
    one = np.zeros((1, 4, 4), bool)
    one[0, :2] = True
    two = np.zeros((2, 4, 4), bool)
    two[0, :, :2] = True
    two[1, :2] = True
    assert overlaps(one, two) == pytest.approx(np.array([[1 / 3, 1]]))


def test_a_grid_finds_the_objects_of_a_picture(scene: Scene) -> None:
    masks, scores, stabilities = propose(scene.image, FakeBackend(), 8)
    assert len(masks) == len(scores) == len(stabilities)
    assert (np.diff(scores) <= 0).all()
    regions = true_regions([scene.target], 0)
    assert overlaps(masks, regions).max(axis=0).min() > 0.9


def test_pictures_are_spread_evenly() -> None:
    assert spread(20, 2) == [0, 19]
    assert spread(3, 9) == [0, 1, 2]
