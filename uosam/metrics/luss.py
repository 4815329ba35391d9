"""The scores of large-scale unsupervised semantic segmentation (Gao et al., TPAMI 2022).

Image accuracy, F-beta and object sizes, as the public ImageNet-S and PASS evaluators compute them.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uosam.metrics.counts import PIXELS, PairTable
from uosam.metrics.scores import (
    AREA,
    EDGES,
    Doubles,
    Score,
    class_sums,
    mean_iou,
    mean_score,
)

SizeRule = Literal["current", "pre-2022"]

SIZES = {"S": 5, "MS": 25, "ML": 50, "L": 100}
"""Largest area of an object in whole percent of the scored pixels of its image."""

_F_BETA_SQUARED = 0.3


def image_accuracy(table: PairTable, pred: NDArray[np.int64], target: NDArray[np.int64]) -> Score:
    """Count the images whose most frequent predicted object class is in the ground truth.

    Ties go to the lowest class; an image predicted as background only is wrong.

    Args:
        table: n rows of pixel counts.
        pred: (n,) predicted class after matching; 0 is background, -1 none.
        target: (n,) true class; 0 is background.
    """
    images, classes = len(table.names), int(max(pred.max(initial=0), target.max(initial=0))) + 1
    objects = pred > 0
    code = table.image[objects] * classes + pred[objects]
    codes, inverse = np.unique(code, return_inverse=True)
    pixels = np.bincount(inverse, table.counts[objects, PIXELS])
    image, label = codes // classes, codes % classes
    order = np.lexsort((label, -pixels, image))
    first = order[np.unique(image[order], return_index=True)[1]]
    correct = np.zeros(images)
    correct[image[first]] = np.isin(codes[first], table.image * classes + target)
    return mean_score(correct, np.arange(images), images)


def f_beta(table: PairTable, pred: NDArray[np.int64], target: NDArray[np.int64]) -> Score:
    """Average over images the F-beta of foreground against background, beta squared = 0.3.

    An image without foreground on one side or both scores 0, as in the published code. Arguments
    as in ``image_accuracy``.
    """
    images = len(table.names)
    pixels = table.counts[:, PIXELS]
    p, t = (
        np.bincount(table.image, pixels * side, minlength=images) for side in (pred > 0, target > 0)
    )
    both = np.bincount(table.image, pixels * ((pred > 0) & (target > 0)), minlength=images)
    # (1 + b) P R / (b P + R) with P = both / p and R = both / t.
    scale = _F_BETA_SQUARED * t + p
    scores = np.divide((1 + _F_BETA_SQUARED) * both, scale, out=np.zeros(images), where=scale > 0)
    return mean_score(scores, np.arange(images), images)


def object_size(table: PairTable) -> NDArray[np.int64]:
    """Return for every row the size bucket of its ground-truth object in its image.

    An object is all pixels of a class in one image; its size is its part of the scored pixels,
    rounded up to whole percent.

    Returns:
        (n,) 0 for S to 3 for L, in the order of ``SIZES``.
    """
    pixels = table.counts[:, PIXELS]
    scored = np.bincount(table.image, pixels, minlength=len(table.names))[table.image]
    code = table.image * (int(table.target.max(initial=0)) + 1) + table.target
    _, inverse = np.unique(code, return_inverse=True)
    area = np.bincount(inverse, pixels)[inverse]
    # ceil(100 a / s) <= limit exactly where 100 a <= limit s; the sums are whole numbers.
    limits = np.array(list(SIZES.values())[:-1])
    return np.asarray((100 * area[:, None] > limits * scored[:, None]).sum(axis=1), np.int64)


def size_scores(
    table: PairTable,
    pred: NDArray[np.int64],
    target: NDArray[np.int64],
    classes: int,
    rule: SizeRule = "current",
) -> dict[str, Score]:
    """Score mIoU and boundary mIoU by object size: S, MS, ML, L and BS, BMS, BML, BL.

    For a size, an image that has objects of it gives the pixels whose truth is background or such
    an object.

    Args:
        table: n rows of pixel counts.
        pred: (n,) predicted class after matching.
        target: (n,) true class; 0 is background.
        classes: C, background included.
        rule: "current" averages over the classes with ground truth in the bucket; "pre-2022" over
            all classes, absent ones being 0, as ImageNet-S did before 4 March 2022.
    """
    bucket = object_size(table)
    scores = {}
    for prefix, columns in (("", AREA), ("B", EDGES)):
        for index, name in enumerate(SIZES):
            of_size = (target != 0) & (bucket == index)
            keep = np.isin(table.image, table.image[of_size]) & ((target == 0) | of_size)
            sums = class_sums(
                table, np.where(keep, pred, -1), np.where(keep, target, -1), classes, columns
            )
            scores[prefix + name] = Score(sums=sums, finish=partial(_size_mean, rule=rule))
    return scores


def _size_mean(totals: Doubles, rule: SizeRule) -> Doubles:
    return mean_iou(totals, "zero", in_target=rule == "current")
