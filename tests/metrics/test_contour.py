from __future__ import annotations

import math

import numpy as np
import pytest

from tests import metric_oracles as oracle
from uosam.errors import ConfigError
from uosam.metrics.contour import boundary_f, contour, contour_reach, object_boundary_f


def contour_by_definition(mask):
    h, w = mask.shape
    lines = np.zeros_like(mask)
    for y in range(h):
        for x in range(w):
            for v, u in ((y, x + 1), (y + 1, x), (y + 1, x + 1)):
                lines[y, x] |= v < h and u < w and mask[y, x] != mask[v, u]
    return lines


def f_by_definition(pred, target, reach):
    p = np.argwhere(contour_by_definition(pred))
    t = np.argwhere(contour_by_definition(target))
    if not len(p) or not len(t):
        return float(len(p) == len(t))
    apart = np.hypot(*(p[:, None] - t[None]).transpose(2, 0, 1))
    precision, recall = (apart.min(1) <= reach).mean(), (apart.min(0) <= reach).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_boundary_f_equals_its_definition(reach):
    rng = np.random.default_rng(reach)
    for _ in range(20):
        pred, target = (oracle.random_map(rng) == 1 for _ in range(2))
        assert np.array_equal(contour(pred), contour_by_definition(pred))
        expected = f_by_definition(pred, target, reach)
        assert boundary_f(pred, target, tolerance=reach) == pytest.approx(expected)


def test_masks_without_contour():
    none, some = np.zeros((6, 6), bool), np.eye(6, dtype=bool)
    assert boundary_f(none, none) == 1
    assert boundary_f(none, some) == boundary_f(some, none) == 0


def test_objects_leave_ignored_pixels_out():
    target = np.full((8, 12), -1, np.int32)
    target[:, :6] = 1
    target[:3, :6] = 0
    pred = np.where(target < 0, 1, target).astype(np.int32)
    assert object_boundary_f(pred, target, background=0) == {1: 1.0}
    assert object_boundary_f(pred, target, background=None) == {0: 1.0, 1: 1.0}


@pytest.mark.parametrize("tolerance", [0, -1, math.nan, math.inf])
def test_tolerance_must_be_positive(tolerance):
    with pytest.raises(ConfigError, match="contour tolerance must be above 0"):
        contour_reach((4, 5), tolerance)
