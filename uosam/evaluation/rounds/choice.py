"""Which of several label maps of one picture is kept: by agreement and confidence, never by truth.

The idea is the store of best pseudo-labels of SEE (He et al., 2025). Agreement is with the maps of
the other rounds, confidence that of refining: no student has a say, since the newest would prefer
what it taught itself.
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
        confidences: mean confidence of each map's labels, in [0, 1].
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


def mean_confidence(labels: LabelMap, sure: Floats) -> float:
    """Return the mean of (H, W) confidence where labels are known; 0 without any.

    >>> mean_confidence(np.array([[0, 2, -1]]), np.array([[0.5, 1.0, 0.0]], np.float32))
    0.75
    """
    known = labels >= 0
    return float(sure[known].mean()) if known.any() else 0.0


def choose(maps: Sequence[LabelMap], sure: Sequence[Floats]) -> Choice:
    """Keep the map with the largest product of agreement and confidence; of equals the latest.

    Args:
        maps: (H, W) ids of each round, the first round's first.
        sure: (H, W) confidence of refining in [0, 1], for each of them.
    """
    pairs: NDArray[np.float64] = np.ones((len(maps), len(maps)))
    for i in range(len(maps)):
        for j in range(i):
            pairs[i, j] = pairs[j, i] = overlap(maps[i], maps[j])
    agreements = pairs.mean(axis=1)
    confidences = [mean_confidence(*pair) for pair in zip(maps, sure, strict=True)]
    worth = np.multiply(agreements, confidences)
    index = len(maps) - 1 - int(np.argmax(worth[::-1]))
    shares = np.mean([labels == maps[index] for labels in maps], axis=0)
    return Choice(
        index=index,
        agreements=tuple(map(float, agreements)),
        confidences=tuple(confidences),
        shares=np.asarray(shares, np.float32),
    )
