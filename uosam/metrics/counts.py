"""Pixels counted by pair of labels: all that the scores of one image need, in a few rows.

Which cluster is which class is often known only after the last image. Counts are therefore kept by
*predicted* label; a matching is applied to counts, never to pixels, so that every image is read
once and any number of matchings, resamplings and averages costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.metrics.boundary import edge_distance, near_edge, run_starts
from uosam.structures import IGNORE, LabelMap, Mask

Ids = NDArray[np.int32]
Counts = NDArray[np.int64]

PIXELS, PRED_EDGE, TARGET_EDGE, BOTH_EDGES, CUT_PRED_EDGE, CUT_BOTH_EDGES, TRIMAP = range(7)
"""Columns of ``PairCounts.counts``: pixels; those on a boundary of the prediction, of the truth, of
both; the prediction and both once more, with ignored pixels cut out of the prediction before its
boundaries are drawn; and from ``TRIMAP`` on a column for each trimap width."""


class Widths(NamedTuple):
    """Depths of boundaries in pixels, for one image size.

    Attributes:
        boundary: chessboard distance up to which a pixel is on the boundary of its label.
        trimap: half-widths of the bands around ground-truth contours, increasing.
    """

    boundary: int
    trimap: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class PairCounts:
    """Scored pixels of one image, a row for each pair of labels that meets.

    A predicted label that has ignored pixels only stands in a row of its own with target IGNORE
    and no counts, for matchings that look at whole images.

    Attributes:
        pred: (n,) predicted label; IGNORE where the prediction names none.
        target: (n,) ground-truth label.
        counts: (n, 6 + trimap widths) pixels of the pair; see the column constants.
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Target:
    """A ground truth and what depends on it alone, shared by all predictions of an image.

    Attributes:
        labels: (H, W) labels, IGNORE where nothing is scored.
        flags: (H, W) 2 on a boundary, plus 8 times the index of the narrowest trimap band.
        starts: (H, W) where a pixel in the order of reading differs from the one before.
        near_ignored: (H, W) within a boundary's depth of an ignored pixel; None without any.
        widths: depths of the boundaries.
    """

    labels: LabelMap
    flags: NDArray[np.uint8]
    starts: Mask
    near_ignored: Mask | None
    widths: Widths


def prepare_target(labels: LabelMap, widths: Widths) -> Target:
    """Find boundaries and trimap bands of a ground truth.

    Args:
        labels: (H, W) labels, IGNORE where nothing is scored.
        widths: depths of the boundaries.

    >>> prepare_target(np.array([[0, 0, 0, 5]], np.int32), Widths(1)).flags.tolist()
    [[2, 2, 2, 2]]
    """
    starts = run_starts(labels)
    flags = near_edge(labels, widths.boundary, starts).view(np.uint8) * np.uint8(2)
    if widths.trimap:
        flags += 8 * _trimap_level(labels, widths.trimap)
    ignored = (labels == IGNORE).view(np.uint8)
    near_ignored = None
    if cv2.countNonZero(ignored):
        side = 2 * widths.boundary + 1
        near_ignored = cv2.dilate(ignored, np.ones((side, side), np.uint8)).view(np.bool_)
    return Target(
        labels=labels, flags=flags, starts=starts, near_ignored=near_ignored, widths=widths
    )


def count_pairs(pred: LabelMap, target: Target) -> PairCounts:
    """Count the pixels of one image by pair of labels, and by nearness to a boundary.

    Costs one pass however many labels there are: boundaries of all labels are found together, and
    runs of equal pixels are counted, not pixels.

    Args:
        pred: (H, W) labels, IGNORE where the prediction names none; counted all the same.
        target: of the same size.

    >>> target = prepare_target(np.array([[0, 3, 3]], np.int32), Widths(1))
    >>> pairs = count_pairs(np.array([[0, 0, 5]], np.int32), target)
    >>> pairs.pred.tolist(), pairs.target.tolist(), pairs.counts[:, PIXELS].tolist()
    ([0, 0, 5], [0, 3, 3], [1, 1, 1])
    """
    starts = run_starts(pred)
    edge = near_edge(pred, target.widths.boundary, starts)
    flags = target.flags + edge.view(np.uint8)
    # With ignored pixels cut out, labels also end where those begin.
    cut = edge if target.near_ignored is None else edge | target.near_ignored
    flags += cut.view(np.uint8) * np.uint8(4)
    starts |= target.starts
    starts |= run_starts(flags)
    first = np.flatnonzero(starts)
    return _count_runs(
        pred.reshape(-1)[first],
        target.labels.reshape(-1)[first],
        flags.reshape(-1)[first],
        np.diff(first, append=pred.size),
        len(target.widths.trimap),
    )


def collect(images: Iterable[tuple[str, PairCounts]]) -> PairTable:
    """Join the counts of images, sorted by name, so that the order of arrival never matters.

    >>> one = PairCounts(pred=np.array([0], np.int32), target=np.array([0], np.int32),
    ...                  counts=np.ones((1, 6), np.int64))
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


def join(tables: Sequence[PairTable]) -> PairTable:
    """Put tables of different images one below the other.

    >>> empty = collect([])
    >>> join([empty, empty]).names
    ()
    """
    # A table of no image does not know how many columns there are.
    tables = [table for table in tables if table.names] or [collect([])]
    offsets = np.cumsum([0, *(len(table.names) for table in tables)])
    return PairTable(
        names=tuple(name for table in tables for name in table.names),
        image=np.concatenate([t.image + o for t, o in zip(tables, offsets, strict=False)]),
        pred=np.concatenate([table.pred for table in tables]),
        target=np.concatenate([table.target for table in tables]),
        counts=np.concatenate([table.counts for table in tables]),
    )


def scored_rows(table: PairTable) -> PairTable:
    """Leave out the rows of predicted labels that have ignored pixels only.

    >>> pairs = count_pairs(np.array([[0, 7]], np.int32),
    ...                     prepare_target(np.array([[0, -1]], np.int32), Widths(1)))
    >>> scored_rows(collect([("a", pairs)])).pred.tolist()
    [0]
    """
    keep = table.target != IGNORE
    return PairTable(
        names=table.names,
        image=table.image[keep],
        pred=table.pred[keep],
        target=table.target[keep],
        counts=table.counts[keep],
    )


def _trimap_level(target: LabelMap, trimap: Sequence[int]) -> NDArray[np.uint8]:
    """Return the index of the narrowest band that holds a pixel, ``len(trimap)`` for none.

    A contour lies between two pixels of different ground-truth labels; ignored regions and the
    frame make none. Distance 1 is a pixel at the contour, hence a band of half-width r holds
    distances up to r (Krähenbühl and Koltun 2011, chessboard metric).
    """
    distance = edge_distance(target, frame=False, void=IGNORE)
    return np.searchsorted(np.asarray(trimap), distance).astype(np.uint8)


def _count_runs(
    pred: Ids, target: Ids, flags: NDArray[np.uint8], lengths: NDArray[np.int64], bands: int
) -> PairCounts:
    """Count (n,) runs by label pair; ``flags`` are 3 bits and 8 times the trimap level."""
    scored = target != IGNORE
    unscored = pred[:0]
    if not scored.all():
        unscored = pred[~scored]
        pred, target, flags, lengths = (side[scored] for side in (pred, target, flags, lengths))
    pred_ids, pred_index = _unique(pred)
    target_ids, target_index = _unique(target)
    kinds = 8 * (bands + 1)
    code = (pred_index * len(target_ids) + target_index) * kinds + flags
    # float64 sums of pixel counts are exact up to 2 ** 53.
    joint = np.bincount(code, lengths, minlength=len(pred_ids) * len(target_ids) * kinds)
    counts = (joint.reshape(-1, kinds) @ _columns(bands)).astype(np.int64)
    meet = np.flatnonzero(counts[:, PIXELS])
    width = max(1, len(target_ids))
    pairs = PairCounts(
        pred=pred_ids[meet // width], target=target_ids[meet % width], counts=counts[meet]
    )
    hidden = np.setdiff1d(unscored, pred_ids).astype(np.int32) if len(unscored) else unscored
    if not len(hidden):
        return pairs
    return PairCounts(
        pred=np.concatenate([pairs.pred, hidden]),
        target=np.concatenate([pairs.target, np.full(len(hidden), IGNORE, np.int32)]),
        counts=np.concatenate([counts[meet], np.zeros((len(hidden), counts.shape[1]), np.int64)]),
    )


def _unique(ids: Ids) -> tuple[Ids, NDArray[np.int64]]:
    """Return the sorted distinct ids and the index of each, without sorting where ids are small."""
    if not len(ids) or ids.max() >= 1 << 16:
        distinct, index = np.unique(ids, return_inverse=True)
        return distinct, index.astype(np.int64)
    seen = np.zeros(int(ids.max()) + 2, np.bool_)
    shifted = ids + 1  # ids start at IGNORE = -1
    seen[shifted] = True
    return np.flatnonzero(seen).astype(np.int32) - 1, (np.cumsum(seen) - 1)[shifted]


def _columns(bands: int) -> NDArray[np.float64]:
    """Tell which kinds of pixel (flags) each column counts: (8 * (bands + 1), 6 + bands) 0 / 1."""
    kind = np.arange(8 * (bands + 1))
    pred, target, cut = ((kind >> bit & 1) == 1 for bit in range(3))
    trimap = [kind // 8 <= band for band in range(bands)]
    columns = [kind >= 0, pred, target, pred & target, cut, cut & target, *trimap]
    return np.stack(columns, axis=1).astype(np.float64)
