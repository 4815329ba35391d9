"""What refined masks of a network would score if one thing in them were right.

``benchmarks.network`` mends the maps of the default with the truth in hand, one thing at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.network_scores import count, score
from uosam.metrics.counts import PairCounts, PairTable, collect
from uosam.structures import IGNORE, LabelMap


def as_it_is(labels: LabelMap, target: LabelMap) -> LabelMap:
    """Leave the refined map alone."""
    del target
    return labels


def without_absent(labels: LabelMap, target: LabelMap) -> LabelMap:
    """Give classes that the picture does not show to the background.

    >>> without_absent(np.array([3, 5, 0]), np.array([3, 0, 0])).tolist()
    [3, 0, 0]
    """
    return np.where(np.isin(labels, np.unique(target)), labels, 0).astype(np.int32)


def named_right(labels: LabelMap, target: LabelMap) -> LabelMap:
    """Give every class of the map the class that most of its pixels truly have.

    >>> named_right(np.array([5, 5, 5, 0]), np.array([3, 3, 0, 0])).tolist()
    [3, 3, 3, 0]
    """
    named = labels.copy()
    for label in np.unique(labels[labels > 0]).tolist():
        true = target[(labels == label) & (target != IGNORE)]
        if len(true):
            named[labels == label] = np.bincount(true).argmax()
    return named


def drawn_right(labels: LabelMap, target: LabelMap) -> LabelMap:
    """Give every class of the map that the picture shows its true shape.

    >>> drawn_right(np.array([3, 5, 0]), np.array([0, 3, 3])).tolist()
    [0, 3, 3]
    """
    shown = [label for label in np.unique(labels).tolist() if label > 0 and (target == label).any()]
    drawn = np.where(np.isin(labels, shown), 0, labels)
    return np.where(np.isin(target, shown), target, drawn).astype(np.int32)


MENDED: dict[str, Callable[[LabelMap, LabelMap], LabelMap]] = {
    "as it is": as_it_is,
    "without classes that the picture does not show": without_absent,
    "each class renamed to what most of it is": named_right,
    "the true shape of each class that is there": drawn_right,
}


def count_mended(labels: LabelMap, target: LabelMap) -> dict[str, PairCounts]:
    """Count the pixels of a refined map mended in every way."""
    return {name: count(mend(labels, target), target) for name, mend in MENDED.items()}


def bounds(
    before: PairTable, mended: Sequence[tuple[str, Mapping[str, PairCounts]]]
) -> dict[str, Any]:
    """Score pictures mended in every way; gains are over the network's masks.

    Args:
        before: counts of the network's masks.
        mended: name of each picture and what ``count_mended`` says of it.
    """
    images = len(mended)
    return {
        name: score(
            before, collect([(one, counts[name]) for one, counts in mended]), [0.0] * images, images
        )["scores"]
        for name in MENDED
    }
