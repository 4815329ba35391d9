"""What is kept of several label maps of one picture: by agreement and confidence, never by truth.

The idea is the store of best pseudo-labels of SEE (He et al., 2025), here for each pixel. Maps
agree where they say the same; confidence is that of refining: no student has a say, since the
newest would prefer what it taught itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uosam.structures import IGNORE, Floats, LabelMap


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice:
    """What was kept of one picture.

    Attributes:
        labels: (H, W) ids that were kept; IGNORE where no map has one.
        agreements: mean IoU of each map with what was kept, in [0, 1].
        confidences: mean confidence of each map's labels, in [0, 1].
        shares: share of the known pixels at which a map says what was kept, in [0, 1], for each.
        support: (H, W) confidence in what was kept, a map that says something else counting 0: the
            mean over the maps, in [0, 1].
    """

    labels: LabelMap
    agreements: tuple[float, ...]
    confidences: tuple[float, ...]
    shares: tuple[float, ...]
    support: Floats


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
    """Keep at each pixel the id whose maps are surest together; of equals what the newest says.

    Args:
        maps: (H, W) ids of each round, the first round's first.
        sure: (H, W) confidence of refining in [0, 1], for each of them.

    >>> maps = [np.array([[1, 1, 2]]), np.array([[2, 1, -1]]), np.array([[2, 2, 3]])]
    >>> choose(maps, [np.full((1, 3), value) for value in (0.9, 0.3, 0.5)]).labels.tolist()
    [[1, 1, 2]]
    """
    labels = np.full(maps[0].shape, IGNORE, np.int32)
    most: NDArray[np.float64] = np.full(labels.shape, -1.0)
    for own in reversed(maps):
        said = np.zeros(labels.shape)
        for other, values in zip(maps, sure, strict=True):
            said += np.where(other == own, values, 0)
        better = (own >= 0) & (said > most)
        labels[better], most[better] = own[better], said[better]
    known = labels >= 0
    return Choice(
        labels=labels,
        agreements=tuple(overlap(own, labels) for own in maps),
        confidences=tuple(mean_confidence(*pair) for pair in zip(maps, sure, strict=True)),
        shares=tuple(float((own == labels)[known].mean()) if known.any() else 1.0 for own in maps),
        support=np.asarray(np.where(known, most, 0) / len(maps), np.float32),
    )
