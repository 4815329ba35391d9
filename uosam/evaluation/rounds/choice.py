"""Which of several label maps of one picture is kept: by agreement and confidence, never by truth.

The idea is the store of best pseudo-labels of SEE (He et al., 2025); agreement is with the maps of
the other rounds, confidence that of the newest student.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uosam.structures import Floats, LabelMap


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice:
    """What was kept of one picture.

    Attributes:
        index: of the map that is kept.
        agreements: of each map with all of them, itself included, in (0, 1].
        confidences: mean probability of each map's labels, in [0, 1].
        shares: (H, W) share of the maps that say at a pixel what the kept one says, in (0, 1].
    """

    index: int
    agreements: tuple[float, ...]
    confidences: tuple[float, ...]
    shares: Floats


def overlap(first: LabelMap, second: LabelMap) -> float:
    """Return the mean IoU of two maps over the ids of either; IGNORE of either is left out.

    >>> overlap(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 1]]))
    0.5833333333333333
    """
    known = (first >= 0) & (second >= 0)
    ids, index = np.unique(np.stack([first[known], second[known]]), return_inverse=True)
    if not len(ids):
        return 1.0
    a, b = index.reshape(2, -1)
    counts = np.bincount(a * len(ids) + b, minlength=len(ids) ** 2).reshape(len(ids), -1)
    both = np.diag(counts)
    return float(np.mean(both / (counts.sum(axis=1) + counts.sum(axis=0) - both)))


def mean_probability(labels: LabelMap, probabilities: Floats) -> float:
    """Return the mean of (K, H, W) probabilities at the labels; an id without a channel has 0."""
    known = labels >= 0
    if not known.any():
        return 0.0
    within = known & (labels < len(probabilities))
    index = np.where(within, labels, 0)[None].astype(np.int64)
    own = np.take_along_axis(probabilities, index, axis=0)[0]
    return float((own * within)[known].mean())


def choose(maps: Sequence[LabelMap], probabilities: Floats | None) -> Choice:
    """Keep the map with the largest product of agreement and confidence; of equals the latest.

    Args:
        maps: (H, W) ids of each round, the first round's first.
        probabilities: (K, H, W) of the newest student; None before there is one.
    """
    pairs: NDArray[np.float64] = np.ones((len(maps), len(maps)))
    for i in range(len(maps)):
        for j in range(i):
            pairs[i, j] = pairs[j, i] = overlap(maps[i], maps[j])
    agreements = pairs.mean(axis=1)
    confidences = [
        1.0 if probabilities is None else mean_probability(labels, probabilities) for labels in maps
    ]
    worth = np.multiply(agreements, confidences)
    index = len(maps) - 1 - int(np.argmax(worth[::-1]))
    shares = np.mean([labels == maps[index] for labels in maps], axis=0)
    return Choice(
        index=index,
        agreements=tuple(map(float, agreements)),
        confidences=tuple(confidences),
        shares=np.asarray(shares, np.float32),
    )
