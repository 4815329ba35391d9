"""How much of a difference between two methods is the choice of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uosam.errors import InputError
from uosam.metrics.scores import Doubles, Score

_CHUNK = 100


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with the interval that covers it in the given part of resamplings.

    Attributes:
        value: on the images as they are.
        low: lower end.
        high: upper end.
        level: part of the resamplings between the ends.
    """

    value: float
    low: float
    high: float
    level: float


def bootstrap(
    score: Score, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Give a score its interval over resampled images (Efron and Tibshirani 1993, centred).

    Args:
        score: of N images.
        resamples: times that N images are drawn with replacement.
        level: part of the resamplings that the interval covers, in (0, 1).
        seed: of the draws.

    >>> from scipy.sparse import csr_array
    >>> from uosam.metrics.scores import ratio
    >>> one = Score(sums=csr_array(np.ones((3, 2))), finish=ratio)
    >>> bootstrap(one, resamples=10)
    Interval(value=1.0, low=1.0, high=1.0, level=0.95)
    """
    found = _interval(score.value(), _resample(score, resamples, seed), level)
    # Centring may push an end a little past what a score can be; nan stays nan.
    low, high = (float(np.clip(end, 0, 1)) for end in (found.low, found.high))
    return Interval(value=found.value, low=low, high=high, level=level)


def paired_bootstrap(
    first: Score, second: Score, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Give the difference second - first its interval, both on the same resampled images.

    A matching of clusters to classes stays as it was found on all images. Arguments as in
    ``bootstrap``.

    Raises:
        InputError: the scores are not of the same number of images.

    >>> from scipy.sparse import csr_array
    >>> from uosam.metrics.scores import ratio
    >>> one = Score(sums=csr_array(np.ones((3, 2))), finish=ratio)
    >>> paired_bootstrap(one, one, resamples=10).high
    0.0
    """
    images = first.sums.shape[0], second.sums.shape[0]
    if images[0] != images[1]:
        raise InputError(
            f"methods are compared on the same images, got {images[0]} and {images[1]}"
        )
    difference = _resample(second, resamples, seed) - _resample(first, resamples, seed)
    return _interval(second.value() - first.value(), difference, level)


def _resample(score: Score, resamples: int, seed: int) -> Doubles:
    """Score ``resamples`` draws; the same seed draws the same images whatever the score."""
    images = score.sums.shape[0]
    rng = np.random.default_rng(seed)
    values = [np.empty(0)]
    for start in range(0, resamples, _CHUNK):
        draws = rng.multinomial(images, np.full(images, 1 / images), min(_CHUNK, resamples - start))
        values.append(score.finish((score.sums.T @ draws.T.astype(np.float64)).T))
    return np.concatenate(values)


def _interval(value: float, samples: Doubles, level: float) -> Interval:
    """Centre the percentiles of the resamples on the value.

    A resample holds fewer classes than all images do, which moves a mean over classes; the shift is
    no uncertainty and is taken out. Means over images or objects are not shifted.
    """
    samples = samples[~np.isnan(samples)]
    low, high = np.nan, np.nan
    if len(samples):
        ends = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
        low, high = value + ends - samples.mean()
    return Interval(value=value, low=float(low), high=float(high), level=level)
