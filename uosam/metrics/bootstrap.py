"""How much of a score, or of a difference between two methods, is the choice of images.

An interval is the value plus and minus Student's t times a standard error.
``benchmarks/coverage.py`` shows that such intervals hold the true value of populations as often as
they say, where percentiles of a bootstrap and BCa do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

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
    return bootstraps([score], resamples=resamples, level=level, seed=seed)[0]


def bootstraps(
    scores: Sequence[Score], *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Give several scores of the same images their intervals, as ``bootstrap`` gives one its own.

    Images are drawn once for all of them.
    """
    statistics = [partial(_value, score) for score in scores]
    counting = [np.diff(score.sums.indptr) > 0 for score in scores]
    halves = _half_widths(statistics, counting, resamples, level, seed)
    middles = [score.value() for score in scores]
    return [_around(m, half, level, 0, 1) for m, half in zip(middles, halves, strict=True)]


def _around(middle: float, half: float, level: float, least: float, most: float) -> Interval:
    low, high = (float(np.clip(end, least, most)) for end in (middle - half, middle + half))
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
    pairs = [(first, second)]
    return paired_bootstraps(pairs, resamples=resamples, level=level, seed=seed)[0]


def paired_bootstraps(
    pairs: Sequence[tuple[Score, Score]],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Interval]:
    """Give several differences their intervals, as ``paired_bootstrap`` gives one its own.

    Images are drawn once for all of them.

    Raises:
        InputError: the scores are not of the same number of images.
    """
    for first, second in pairs:
        images = first.sums.shape[0], second.sums.shape[0]
        if images[0] != images[1]:
            raise InputError(
                f"methods are compared on the same images, got {images[0]} and {images[1]}"
            )
    statistics = [partial(_difference, first, second) for first, second in pairs]
    counting = [(np.diff(a.sums.indptr) + np.diff(b.sums.indptr)) > 0 for a, b in pairs]
    halves = _half_widths(statistics, counting, resamples, level, seed)
    return [
        _around(second.value() - first.value(), half, level, -1, 1)
        for (first, second), half in zip(pairs, halves, strict=True)
    ]


Statistic = Callable[[Doubles], Doubles]
"""Turns (R, N) weights of the images into the (R,) values of the draws."""


def _value(score: Score, weights: Doubles) -> Doubles:
    return score.finish((score.sums.T @ weights.T).T)


def _difference(first: Score, second: Score, weights: Doubles) -> Doubles:
    return _value(second, weights) - _value(first, weights)


def _half_widths(
    statistics: Sequence[Statistic],
    counting: Sequence[NDArray[np.bool_]],
    resamples: int,
    level: float,
    seed: int,
) -> list[float]:
    """Return Student's t times each error; nan where too few images count or nothing is drawn."""
    halves = [float("nan")] * len(statistics)
    enough = [i for i, flags in enumerate(counting) if np.count_nonzero(flags) >= MIN_IMAGES]
    if not enough or resamples < 2:
        return halves
    images = len(counting[0])
    chosen = [statistics[i] for i in enough]
    wholes = [float(statistic(np.ones((1, images)))[0]) for statistic in chosen]
    draws = _defined(chosen, _draw(images, resamples, seed))
    left_out = _defined(chosen, _leave_out(images))
    for i, whole, drawn, left in zip(enough, wholes, draws, left_out, strict=True):
        halves[i] = _half_width(whole, drawn, left, images, level)
    return halves


def _half_width(
    whole: float, drawn: Doubles, left_out: Doubles, images: int, level: float
) -> float:
    from scipy.special import stdtrit

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


def _defined(statistics: Sequence[Statistic], weights: Iterator[Doubles]) -> list[Doubles]:
    """Return the defined values of each statistic under all (R, N) weights."""
    values: list[list[Doubles]] = [[] for _ in statistics]
    for some in weights:
        # Sums are a product with (N, R) weights, which are laid out once for all statistics.
        laid = np.ascontiguousarray(some.T, np.float64).T
        for found, statistic in zip(values, statistics, strict=True):
            found.append(statistic(laid))
    each = [np.concatenate(found) for found in values]
    return [found[~np.isnan(found)] for found in each]


def _draw(images: int, resamples: int, seed: int) -> Iterator[Doubles]:
    """Yield the weights of ``resamples`` draws; the same seed draws the same images."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        count = min(_CHUNK, resamples - start)
        yield rng.multinomial(images, np.full(images, 1 / images), count).astype(np.float64)


def _leave_out(images: int) -> Iterator[Doubles]:
    """Yield the weights without each image, or without each of ``GROUPS`` groups of them.

    Names that follow each other are often of one class, so a group takes every so many-th image.
    """
    groups = min(images, GROUPS)
    member = np.arange(images) % groups
    for start in range(0, groups, _CHUNK):
        chosen = np.arange(start, min(groups, start + _CHUNK))
        yield (member[None] != chosen[:, None]).astype(np.float64)
