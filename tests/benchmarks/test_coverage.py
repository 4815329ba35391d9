"""The benchmark of intervals runs, and its methods are what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.coverage import KINDS, METHODS, cover, population, score_of


def test_intervals_of_every_method() -> None:
    found = cover(KINDS["object and background"], images=12, sets=4, resamples=60)
    assert set(found) == {*METHODS, "difference"}
    for cell in found.values():
        assert 0 <= cell["coverage"] <= 1
        assert 0 < cell["width"] < 1


def test_bca_agrees_with_percentiles_where_nothing_is_skewed() -> None:
    sums = population(KINDS["11 classes, most in an image"])
    score = score_of(sums[np.arange(400)])
    plain, accelerated = (METHODS[name](score, 400, 0) for name in ("percentiles", "BCa"))
    assert accelerated == pytest.approx(plain, abs=0.01)


def test_the_better_method_is_better() -> None:
    kind = KINDS["boundaries of 6 classes"]
    assert score_of(population(kind, better=0.1)).value() > score_of(population(kind)).value()
