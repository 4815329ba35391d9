"""Intervals: none from a handful of images, within what is possible, and true as often as said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse import csr_array

from benchmarks.coverage import IMAGES, KINDS, population, score_of
from uosam.metrics.bootstrap import MIN_IMAGES, bootstrap, paired_bootstrap
from uosam.metrics.scores import Score, mean_score, ratio


def means(values: np.ndarray) -> Score:
    return mean_score(values, np.arange(len(values)), len(values))


def test_a_handful_of_images_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    for images, there in ((1, False), (2, False), (MIN_IMAGES - 1, False), (MIN_IMAGES, True)):
        score = means(rng.random(images))
        for found in (bootstrap(score), paired_bootstrap(score, means(rng.random(images)))):
            assert math.isnan(found.low) == math.isnan(found.high) == (not there)
            assert not math.isnan(found.value)


def test_images_without_objects_do_not_count() -> None:
    few = mean_score(np.array([0.2, 0.7, 0.4]), np.array([0, 5, 9]), 100)
    assert math.isnan(bootstrap(few).low)


def test_no_resamples_no_interval() -> None:
    assert math.isnan(bootstrap(means(np.linspace(0, 1, 50)), resamples=0).low)


def test_an_interval_stays_within_what_is_possible() -> None:
    high = means(np.r_[np.ones(9), 0.2])
    found = bootstrap(high)
    assert found.high == 1
    assert found.low > 0
    wild = paired_bootstrap(means(np.zeros(10)), means(np.r_[np.ones(9), 0.0]))
    assert wild.high == 1
    assert wild.low > -1


def test_a_score_that_is_nowhere_defined() -> None:
    nothing = Score(sums=csr_array(np.tile([1.0, 0.0], (20, 1))), finish=ratio)
    assert math.isnan(bootstrap(nothing).low)


def test_thousands_of_images_are_left_out_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    score = means(np.random.default_rng(1).random(600))
    every = bootstrap(score)
    monkeypatch.setattr("uosam.metrics.bootstrap.GROUPS", 100)
    groups = bootstrap(score)
    assert groups.high - groups.low == pytest.approx(every.high - every.low, rel=0.2)


@pytest.mark.parametrize("images", [10, 40])
def test_the_true_value_is_held_as_often_as_said(images: int) -> None:
    sums = population(KINDS["boundaries of 21 classes"])
    truth = score_of(sums).value()
    rng = np.random.default_rng(images)
    held = 0
    for seed in range(120):
        chosen = sums[rng.integers(0, IMAGES, images)]
        found = bootstrap(score_of(chosen), resamples=100, seed=seed)
        held += found.low <= truth <= found.high
    assert held / 120 > 0.86  # 90 % less what 120 sets can be off; percentiles hold 45 to 65 %


def test_quantiles_are_those_of_students_t() -> None:
    from scipy.special import stdtrit
    from scipy.stats import t as student

    for freedom in (2.0, 2.5, 9.0, 37.3, 1e4):
        for probability in (0.6, 0.95, 0.975, 0.9995):
            assert stdtrit(freedom, probability) == student.ppf(probability, freedom)
