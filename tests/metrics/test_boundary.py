from __future__ import annotations

import numpy as np
import pytest

from tests import metric_oracles as oracle
from uosam.errors import ConfigError
from uosam.metrics.boundary import boundary_width, edge_distance, edge_mask, near_edge


@pytest.mark.parametrize("hw", [(1, 1), (1, 9), (9, 1), (2, 2), (13, 17)])
@pytest.mark.parametrize("width", [1, 2, 3, 6])
def test_one_transform_equals_erosions_of_every_label(hw, width):
    rng = np.random.default_rng(width)
    for _ in range(5):
        labels = oracle.random_map(rng, hw)
        near = near_edge(labels, width)
        assert np.array_equal(near, edge_distance(labels) <= width)
        for label in np.unique(labels):
            mask = labels == label
            expected = oracle.boundary(mask, width)
            assert np.array_equal(expected, oracle.boundary_brute(mask, width))
            assert np.array_equal(mask & near, expected)


def test_without_a_frame_only_labels_make_edges():
    labels = np.zeros((4, 6), np.int32)
    assert np.isinf(edge_distance(labels, frame=False)).all()
    labels[:, 3:] = 1
    assert edge_distance(labels, frame=False)[0].tolist() == [3, 2, 1, 1, 2, 3]
    assert edge_mask(labels, frame=False).sum() == 8


def test_void_makes_no_contour():
    labels = np.array([[0, 0, -1, 1, 1, 2]], np.int32)
    assert edge_distance(labels, frame=False, void=-1).tolist() == [[5, 4, 3, 2, 1, 1]]


@pytest.mark.parametrize(
    ("hw", "ratio", "width"),
    [
        ((375, 500), 0.02, 12),  # 12.5 rounds half to even
        ((375, 500), 0.03, 19),  # 18.75
        ((3, 4), 0.5, 2),  # 2.5
        ((3, 4), 0.7, 4),  # 3.5
        ((30, 40), 0.001, 1),
    ],
)
def test_width_rounds_half_to_even_and_is_at_least_one(hw, ratio, width):
    assert boundary_width(hw, ratio) == width


@pytest.mark.parametrize("ratio", [0, -0.1, float("nan"), float("inf")])
def test_ratio_must_be_positive(ratio):
    with pytest.raises(ConfigError, match="boundary ratio must be above 0"):
        boundary_width((5, 5), ratio)
