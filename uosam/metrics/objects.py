"""How well single objects are drawn: IoU and boundary IoU of each object of each image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uosam.labels import check_label_map, iou
from uosam.metrics.boundary import boundary_width, near_edge
from uosam.metrics.counts import PIXELS, PairTable
from uosam.metrics.scores import AREA, OBJECT_EDGES, Doubles
from uosam.structures import IGNORE, LabelMap


@dataclass(frozen=True, kw_only=True)
class ObjectScore:
    """One object: a ground-truth label in one image.

    Attributes:
        label: ground-truth id.
        iou: of the pixels with this label, in [0, 1].
        boundary_iou: of the boundaries of both masks, in [0, 1].
        area: ground-truth pixels.
    """

    label: int
    iou: float
    boundary_iou: float
    area: int


def object_scores(
    pred: LabelMap,
    target: LabelMap,
    *,
    background: int | None,
    boundary_ratio: float = 0.02,
) -> list[ObjectScore]:
    """Score every ground-truth object of one image, in order of label.

    Ignored pixels belong to no mask, of prediction or truth, before boundaries are drawn; a
    prediction equal to the truth elsewhere therefore scores 1. Boundary IoU is that of Cheng et
    al. (CVPR 2021): a mask minus its erosion, the image's frame counting as outside.

    Args:
        pred: (H, W) labels in the ids of ``target``.
        target: (H, W) labels, IGNORE where nothing is scored.
        background: id that is no object, or None where every id is one.
        boundary_ratio: depth of a boundary as a part of the image diagonal.

    Raises:
        InputError: either map is not int32 (H, W), or their sizes differ.
        ConfigError: the ratio is not positive.

    >>> target = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], np.int32)
    >>> pred = np.array([[0, 0, 1, 1], [0, 1, 1, 1]], np.int32)
    >>> [(o.label, o.iou, o.area) for o in object_scores(pred, target, background=0)]
    [(1, 0.8, 4)]
    """
    check_label_map(target, target.shape)
    check_label_map(pred, target.shape)
    width = boundary_width(target.shape, boundary_ratio)
    scored = target != IGNORE
    pred = np.where(scored, pred, IGNORE).astype(np.int32)
    pred_edge = near_edge(pred, width)
    target_edge = near_edge(target, width)
    scores = []
    for label in np.unique(target[scored]).tolist():
        if label == background:
            continue
        p, t = pred == label, target == label
        scores.append(
            ObjectScore(
                label=label,
                iou=float(iou(p, t)),
                boundary_iou=float(iou(p & pred_edge, t & target_edge)),
                area=int(np.count_nonzero(t)),
            )
        )
    return scores


@dataclass(frozen=True, eq=False, kw_only=True)
class ObjectTable:
    """The objects of many images, in order of image and label.

    Attributes:
        image: (n,) index of the image.
        label: (n,) class of the object.
        area: (n,) ground-truth pixels.
        iou: (n,) in [0, 1].
        boundary_iou: (n,) in [0, 1].
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    area: NDArray[np.int64]
    iou: Doubles
    boundary_iou: Doubles


def object_table(
    table: PairTable, pred: NDArray[np.int64], target: NDArray[np.int64], background: int | None
) -> ObjectTable:
    """Score the objects of many images from their counts; equals ``object_scores`` of each.

    Args:
        table: n rows of pixel counts.
        pred: (n,) predicted class of each row after matching, -1 for none.
        target: (n,) true class of each row.
        background: class that is no object, or None.
    """
    base = int(max(pred.max(initial=0), target.max(initial=0))) + 1
    is_object = target >= 0 if background is None else target != background
    target_code = table.image * base + target
    objects = np.unique(target_code[is_object])

    def total(code: NDArray[np.int64], keep: NDArray[np.bool_], column: int) -> Doubles:
        keep = keep & np.isin(code, objects)
        index = np.searchsorted(objects, code[keep])
        pixels = table.counts[keep, column].astype(np.float64)
        return np.asarray(np.bincount(index, pixels, minlength=len(objects)), np.float64)

    ious = []
    for pred_column, target_column, both_column in (AREA, OBJECT_EDGES):
        p = total(table.image * base + pred, pred >= 0, pred_column)
        t = total(target_code, is_object, target_column)
        both = total(target_code, is_object & (pred == target), both_column)
        ious.append(both / (p + t - both))
    return ObjectTable(
        image=objects // base,
        label=objects % base,
        area=total(target_code, is_object, PIXELS).astype(np.int64),
        iou=ious[0],
        boundary_iou=ious[1],
    )
