"""How much of a score, or of a difference between two methods, is the choice of images.

An interval is the value plus and minus Student's t times a standard error.
``benchmarks/coverage.py`` shows that such intervals hold the true value of populations as often as
they say, where percentiles of a bootstrap and BCa do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from uosam.errors import InputError
from uosam.metrics.scores import Doubles, Score

MIN_IMAGES = 10
"""From fewer images that count, nothing can be said about others: no interval."""

GROUPS = 1000
"""Images are left out one at a time up to this many, and in as many groups beyond."""

_CHUNK = 100


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with the interval that holds the value of all such images in a given share of cases.

    Attributes:
        value: on the images as they are.
        low: lower end; nan with fewer than ``MIN_IMAGES`` images, or without resamples.
        high: upper end, likewise.
        level: share of the cases.
    """

    value: float
    low: float
    high: float
    level: float


def bootstrap(
    score: Score, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Give a score its interval over images, inside [0, 1].

    The standard error is the larger of those of a jackknife and of a bootstrap over images (Efron
    and Tibshirani 1993, chapters 6 and 11): a class in a single image is missing in a third of the
    resamples, which then tell nothing of its share. To it comes the bias that the resamples show.
    Student's t has the degrees of freedom that a variance estimated from values of this kurtosis
    has (Satterthwaite 1946), at most one less than there are images.

    Args:
        score: of N images.
        resamples: times that N images are drawn with replacement; 0 for no interval.
        level: share of the cases in which the interval is to hold the true value, in (0, 1).
        seed: of the draws.

    >>> from uosam.metrics.scores import mean_score
    >>> score = mean_score(np.linspace(0.4, 0.6, 11), np.arange(11), 11)
    >>> interval = bootstrap(score, resamples=200)
    >>> round(interval.low, 2), round(interval.value, 2), round(interval.high, 2)
    (0.46, 0.5, 0.54)
    >>> bootstrap(mean_score(np.array([0.4, 0.6]), np.arange(2), 2)).low
    nan
    """
    counting = np.diff(score.sums.indptr) > 0
    half = _half_width(lambda draws: _value(score, draws), counting, resamples, level, seed)
    middle = score.value()
    low, high = (float(np.clip(end, 0, 1)) for end in (middle - half, middle + half))
    return Interval(value=middle, low=low, high=high, level=level)


def paired_bootstrap(
    first: Score, second: Score, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Give the difference second - first its interval, inside [-1, 1]; both on the same images.

    A matching of clusters to classes stays as it was found on all images. Arguments as in
    ``bootstrap``.

    Raises:
        InputError: the scores are not of the same number of images.

    >>> from uosam.metrics.scores import mean_score
    >>> score = mean_score(np.linspace(0.4, 0.6, 11), np.arange(11), 11)
    >>> paired_bootstrap(score, score, resamples=10).high
    0.0
    """
    images = first.sums.shape[0], second.sums.shape[0]
    if images[0] != images[1]:
        raise InputError(
            f"methods are compared on the same images, got {images[0]} and {images[1]}"
        )

    def difference(draws: Doubles) -> Doubles:
        return _value(second, draws) - _value(first, draws)

    counting = (np.diff(first.sums.indptr) + np.diff(second.sums.indptr)) > 0
    half = _half_width(difference, counting, resamples, level, seed)
    middle = second.value() - first.value()
    low, high = (float(np.clip(end, -1, 1)) for end in (middle - half, middle + half))
    return Interval(value=middle, low=low, high=high, level=level)


Statistic = Callable[[Doubles], Doubles]
"""Turns (R, N) weights of the images into the (R,) values of the draws."""


def _value(score: Score, weights: Doubles) -> Doubles:
    return score.finish((score.sums.T @ weights.T).T)


def _half_width(
    statistic: Statistic, counting: NDArray[np.bool_], resamples: int, level: float, seed: int
) -> float:
    """Return Student's t times the error; nan where too few images count or nothing is drawn."""
    images = len(counting)
    if np.count_nonzero(counting) < MIN_IMAGES or resamples < 2:
        return float("nan")
    whole = float(statistic(np.ones((1, images)))[0])
    drawn = _resample(statistic, images, resamples, seed)
    left_out = _leave_out(statistic, images)
    groups = len(left_out)
    if len(drawn) < 2 or groups < MIN_IMAGES:
        return float("nan")
    influence = (groups - 1) * (left_out.mean() - left_out)
    squares = float((influence**2).mean())
    jackknife = np.sqrt(squares / (groups - 1))
    error = max(jackknife, drawn.std(ddof=1) * np.sqrt(images / (images - 1)))
    bias = drawn.mean() - whole
    kurtosis = float((influence**4).mean()) / squares**2 if squares > 0 else 3.0
    freedom = np.clip(2 * groups / (kurtosis - 1 + 2 / (groups - 1)), 2, groups - 1)
    return float(stdtrit(freedom, (1 + level) / 2) * np.hypot(error, bias))


def _resample(statistic: Statistic, images: int, resamples: int, seed: int) -> Doubles:
    """Return the defined values of ``resamples`` draws; the same seed draws the same images."""
    rng = np.random.default_rng(seed)
    values = []
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        draws = rng.multinomial(images, np.full(images, 1 / images), count)
        values.append(statistic(draws.astype(np.float64)))
    drawn = np.concatenate(values)
    return drawn[~np.isnan(drawn)]


def _leave_out(statistic: Statistic, images: int) -> Doubles:
    """Return the defined values without each image, or without each of ``GROUPS`` groups of them.

    Names that follow each other are often of one class, so a group takes every so many-th image.
    """
    groups = min(images, GROUPS)
    member = np.arange(images) % groups
    values = []
    for start in range(0, groups, _CHUNK):
        chosen = np.arange(start, min(groups, start + _CHUNK))
        values.append(statistic((member[None] != chosen[:, None]).astype(np.float64)))
    left = np.concatenate(values)
    return left[~np.isnan(left)]
