"""A score is a sum over images and a function of the sum; resampling images is then a product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from uosam.metrics.counts import (
    BOTH_EDGES,
    CUT_BOTH_EDGES,
    CUT_PRED_EDGE,
    PIXELS,
    PRED_EDGE,
    TARGET_EDGE,
    Ids,
    PairTable,
)

if TYPE_CHECKING:  # a tenth of a second, which processes that only count do not need
    from scipy.sparse import csr_array

Doubles = NDArray[np.float64]
Absent = Literal["zero", "skip"]

AREA = (PIXELS, PIXELS, PIXELS)
EDGES = (PRED_EDGE, TARGET_EDGE, BOTH_EDGES)
OBJECT_EDGES = (CUT_PRED_EDGE, TARGET_EDGE, CUT_BOTH_EDGES)
"""Which columns of a ``PairTable`` are prediction, ground truth and their intersection."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Score:
    """A number about a set of images, as sums that know how to become it.

    Attributes:
        sums: (images, D) what each image adds.
        finish: (R, D) totals to (R,) scores in [0, 1], nan where undefined.
    """

    sums: csr_array
    finish: Callable[[Doubles], Doubles]

    def value(self) -> float:
        """Return the score of all images, in [0, 1]."""
        return float(self.finish(np.asarray(self.sums.sum(axis=0), np.float64)[None])[0])


def ratio(totals: Doubles) -> Doubles:
    """Divide the first column by the second; nan where that is 0.

    >>> ratio(np.array([[1.0, 4.0], [0.0, 0.0]])).tolist()
    [0.25, nan]
    """
    quotient = np.full(len(totals), np.nan)
    np.divide(totals[:, 0], totals[:, 1], out=quotient, where=totals[:, 1] != 0)
    return quotient


def mean_score(values: Doubles, image: NDArray[np.int64], images: int) -> Score:
    """Average single values, each of which belongs to an image.

    Args:
        values: (n,) in [0, 1].
        image: (n,) index of the image of each value.
        images: number of images.

    >>> mean_score(np.array([0.5, 1.0, 0.0]), np.array([0, 0, 2]), 3).value()
    0.5
    """
    from scipy.sparse import csr_array

    sums = np.stack(
        [
            np.bincount(image, values, minlength=images),
            np.bincount(image, minlength=images).astype(np.float64),
        ],
        axis=1,
    )
    return Score(sums=csr_array(sums), finish=ratio)


def class_sums(
    table: PairTable,
    pred: NDArray[np.int64],
    target: NDArray[np.int64],
    classes: int,
    columns: tuple[int, int, int] = AREA,
) -> csr_array:
    """Sum pixels by image and class: of the prediction, of the truth, and where both agree.

    Args:
        table: n rows of pixel counts.
        pred: (n,) predicted class of each row after matching, -1 for none.
        target: (n,) true class of each row, -1 to leave the row out of the truth.
        classes: C, both in 0 to C - 1.
        columns: which pixels to count.

    Returns:
        (images, 3 C): C sums of the prediction, C of the truth, C of the intersection.
    """
    from scipy.sparse import coo_array, csr_array

    parts = (
        (pred >= 0, pred, columns[0]),
        (target >= 0, target + classes, columns[1]),
        ((pred == target) & (pred >= 0), target + 2 * classes, columns[2]),
    )
    rows = np.concatenate([table.image[keep] for keep, _, _ in parts])
    cols = np.concatenate([index[keep] for keep, index, _ in parts])
    data = np.concatenate([table.counts[keep, column] for keep, _, column in parts])
    shape = (len(table.names), 3 * classes)
    return csr_array(coo_array((data.astype(np.float64), (rows, cols)), shape=shape))


def class_ious(totals: Doubles, absent: Absent) -> Doubles:
    """Turn (R, 3 C) totals of ``class_sums`` into (R, C) IoUs.

    Args:
        totals: prediction, truth and intersection by class.
        absent: a class without a pixel on either side is 0 (LUSS, MaskContrast) or nan.

    >>> class_ious(np.array([[2.0, 0, 2, 0, 1, 0]]), "skip").tolist()
    [[0.3333333333333333, nan]]
    """
    pred, target, both = np.split(totals, 3, axis=1)
    union = pred + target - both
    ious = np.full(union.shape, 0.0 if absent == "zero" else np.nan)
    np.divide(both, union, out=ious, where=union > 0)
    return ious


def mean_iou(totals: Doubles, absent: Absent, *, in_target: bool = False) -> Doubles:
    """Average class IoUs.

    Args:
        totals: (R, 3 C) as from ``class_sums``.
        absent: "zero" counts absent classes as 0, "skip" leaves them out.
        in_target: average over the classes of the ground truth only (LUSS object sizes since 2022).

    Returns:
        (R,); nan where no class is left.

    >>> mean_iou(np.array([[2.0, 0, 2, 0, 1, 0]]), "zero").round(4).tolist()
    [0.1667]
    """
    ious = class_ious(totals, absent)
    if in_target:
        ious = np.where(np.split(totals, 3, axis=1)[1] > 0, ious, np.nan)
    used = ~np.isnan(ious)
    return ratio(np.stack([np.where(used, ious, 0).sum(axis=1), used.sum(axis=1)], axis=1))


def mean_precision(totals: Doubles) -> Doubles:
    """Average, over the classes that are predicted anywhere, the right part of their pixels.

    CAUSE prints it as mAP; it has nothing to do with average precision.

    Args:
        totals: (R, 3 C) as from ``class_sums``.

    Returns:
        (R,); nan where nothing is predicted.

    >>> mean_precision(np.array([[4.0, 0, 2, 0, 1, 0]])).tolist()
    [0.25]
    """
    pred, _, both = np.split(totals, 3, axis=1)
    parts = np.divide(both, pred, out=np.zeros_like(both), where=pred > 0)
    return ratio(np.stack([parts.sum(axis=1), (pred > 0).sum(axis=1)], axis=1))


def iou_score(sums: csr_array, absent: Absent, *, in_target: bool = False) -> Score:
    """Make the mean IoU of class sums a score."""
    return Score(sums=sums, finish=partial(mean_iou, absent=absent, in_target=in_target))


def label_index(labels: Ids, ids: Ids) -> NDArray[np.int64]:
    """Find each id in the sorted array ``labels``; -1 where it is not there.

    >>> label_index(np.array([0, 3], np.int32), np.array([3, 1, 0], np.int32)).tolist()
    [1, -1, 0]
    """
    if not len(labels):
        return np.full(len(ids), -1, np.int64)
    index = np.searchsorted(labels, ids).clip(max=len(labels) - 1)
    return np.where(labels[index] == ids, index, -1)
