"""Pixels counted by pair of labels: all that the scores of one image need, in a few rows.

Which cluster is which class is often known only after the last image. Counts are therefore kept by
*predicted* label; a matching is applied to counts, never to pixels, so that every image is read
once and any number of matchings, resamplings and averages costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uosam.metrics.boundary import edge_distance
from uosam.structures import IGNORE, LabelMap

Ids = NDArray[np.int32]
Counts = NDArray[np.int64]

PIXELS, PRED_EDGE, TARGET_EDGE, BOTH_EDGES = range(4)
OBJECT_PRED_EDGE, OBJECT_TARGET_EDGE, OBJECT_BOTH_EDGES, TRIMAP = range(4, 8)
"""Columns of ``PairCounts.counts``; one column per trimap width follows from ``TRIMAP`` on."""


class Widths(NamedTuple):
    """Depths of boundaries in pixels, for one image size.

    Attributes:
        classes: for scores of classes; boundaries see the prediction under ignored pixels (LUSS).
        objects: for scores of objects; ignored pixels are cut out of the prediction first.
        trimap: half-widths of the bands around ground-truth contours, increasing.
    """

    classes: int
    objects: int
    trimap: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class PairCounts:
    """Scored pixels of one image, a row for each pair of labels that meets.

    Attributes:
        pred: (n,) predicted label; IGNORE where the prediction names none.
        target: (n,) ground-truth label.
        counts: (n, 7 + trimap widths) pixels of the pair; see the column constants.
    """

    pred: Ids
    target: Ids
    counts: Counts


@dataclass(frozen=True, eq=False, kw_only=True)
class PairTable:
    """The rows of many images, in order of image name.

    Attributes:
        names: of all images, also of those without a scored pixel.
        image: (n,) index into ``names``.
        pred: (n,) predicted label.
        target: (n,) ground-truth label.
        counts: (n, columns) as in ``PairCounts``.
    """

    names: tuple[str, ...]
    image: NDArray[np.int64]
    pred: Ids
    target: Ids
    counts: Counts


def count_pairs(pred: LabelMap, target: LabelMap, widths: Widths) -> PairCounts:
    """Count the pixels of one image by pair of labels, and by nearness to a boundary.

    Costs one pass however many labels there are: boundaries of all labels come from one distance
    transform, and runs of equal pixels are counted, not pixels.

    Args:
        pred: (H, W) labels, IGNORE where the prediction names none; counted all the same.
        target: (H, W) labels, IGNORE where nothing is scored.
        widths: depths of the boundaries.

    >>> pred, target = np.array([[0, 0, 5]], np.int32), np.array([[0, 3, 3]], np.int32)
    >>> pairs = count_pairs(pred, target, Widths(1, 1))
    >>> pairs.pred.tolist(), pairs.target.tolist(), pairs.counts[:, PIXELS].tolist()
    ([0, 0, 5], [0, 3, 3], [1, 1, 1])
    """
    pred_distance, target_distance = edge_distance(pred), edge_distance(target)
    scored = target != IGNORE
    all_scored = bool(scored.all())
    cut_distance = pred_distance if all_scored else edge_distance(np.where(scored, pred, IGNORE))
    flags = np.zeros(target.shape, np.uint8)
    for bit, near in enumerate(
        (
            pred_distance <= widths.classes,
            target_distance <= widths.classes,
            cut_distance <= widths.objects,
            target_distance <= widths.objects,
        )
    ):
        flags |= near.view(np.uint8) << bit
    if widths.trimap:
        flags += 16 * _trimap_level(target, widths.trimap)
    return _count_runs(pred.ravel(), target.ravel(), flags.ravel(), len(widths.trimap))


def collect(images: Iterable[tuple[str, PairCounts]]) -> PairTable:
    """Join the counts of images, sorted by name, so that the order of arrival never matters.

    >>> one = PairCounts(pred=np.array([0], np.int32), target=np.array([0], np.int32),
    ...                  counts=np.ones((1, 7), np.int64))
    >>> collect([("b", one), ("a", one)]).names
    ('a', 'b')
    """
    ordered = sorted(images, key=lambda item: item[0])
    rows = [len(pairs.pred) for _, pairs in ordered]
    return PairTable(
        names=tuple(name for name, _ in ordered),
        image=np.repeat(np.arange(len(ordered)), rows),
        pred=np.concatenate([np.empty(0, np.int32), *(pairs.pred for _, pairs in ordered)]),
        target=np.concatenate([np.empty(0, np.int32), *(pairs.target for _, pairs in ordered)]),
        counts=np.concatenate([pairs.counts for _, pairs in ordered])
        if ordered
        else np.empty((0, TRIMAP), np.int64),
    )


def _trimap_level(target: LabelMap, trimap: Sequence[int]) -> NDArray[np.uint8]:
    """Return the index of the narrowest band that holds a pixel, ``len(trimap)`` for none.

    A contour lies between two pixels of different ground-truth labels; ignored regions and the
    frame make none. Distance 1 is a pixel at the contour, hence a band of half-width r holds
    distances up to r (Krähenbühl and Koltun 2011, chessboard metric).
    """
    distance = edge_distance(target, frame=False, void=IGNORE)
    return np.searchsorted(np.asarray(trimap), distance).astype(np.uint8)


def _count_runs(pred: Ids, target: Ids, flags: NDArray[np.uint8], bands: int) -> PairCounts:
    """Count flat (n,) arrays by label pair; ``flags`` are 4 bits and 16 times the trimap level."""
    change = pred[1:] != pred[:-1]
    change |= target[1:] != target[:-1]
    change |= flags[1:] != flags[:-1]
    starts = np.concatenate([[0], np.flatnonzero(change) + 1])
    lengths = np.diff(starts, append=len(pred))
    starts, lengths = starts[target[starts] != IGNORE], lengths[target[starts] != IGNORE]
    pred_ids, pred_index = np.unique(pred[starts], return_inverse=True)
    target_ids, target_index = np.unique(target[starts], return_inverse=True)
    kinds = 16 * (bands + 1)
    code = (pred_index * len(target_ids) + target_index) * kinds + flags[starts]
    # float64 sums of pixel counts are exact up to 2 ** 53.
    joint = np.bincount(code, lengths, minlength=len(pred_ids) * len(target_ids) * kinds)
    counts = (joint.reshape(-1, kinds) @ _columns(bands)).astype(np.int64)
    meet = np.flatnonzero(counts[:, PIXELS])
    return PairCounts(
        pred=pred_ids[meet // max(1, len(target_ids))],
        target=target_ids[meet % max(1, len(target_ids))],
        counts=counts[meet],
    )


def _columns(bands: int) -> NDArray[np.float64]:
    """Tell which kinds of pixel (flags) each column counts: (16 * (bands + 1), 7 + bands) 0 / 1."""
    kind = np.arange(16 * (bands + 1))
    bit = [(kind >> shift & 1) == 1 for shift in range(4)]
    near_objects = [bit[2], bit[3], bit[2] & bit[3]]
    trimap = [kind // 16 <= band for band in range(bands)]
    columns = [kind >= 0, bit[0], bit[1], bit[0] & bit[1], *near_objects, *trimap]
    return np.stack(columns, axis=1).astype(np.float64)
