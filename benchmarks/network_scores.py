"""Scores of refined masks of a network, and of each kind of mistake that the network makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uosam.metrics.bootstrap import paired_bootstrap
from uosam.metrics.boundary import boundary_width
from uosam.metrics.counts import (
    PIXELS,
    PairCounts,
    PairTable,
    Widths,
    count_pairs,
    prepare_target,
    scored_rows,
)
from uosam.metrics.protocols import Protocol
from uosam.metrics.summary import Summary, class_labels, summarise
from uosam.structures import LabelMap

NUMBERS = ("mIoU", "boundary_mIoU", "image_accuracy", "F_beta")
PROTOCOL = Protocol(
    title="LUSS scores on known classes: classes that no picture shows are left out",
    stored="voc",
    absent="skip",
    boundary_ratio=0.03,
)
KINDS = ("good", "part", "oversize", "wrong class", "missed")
"""What the network made of an object, a class in a picture.

missed: less than a tenth of it is under a mask of any class. wrong class: some other class has more
of it than its own. good: an IoU of 0.7 with the mask of its class. part: that mask lies more inside
the object than it covers (precision above recall). oversize: it is the other way round.
"""
_COVERED, _GOOD = 0.1, 0.7


def count(labels: LabelMap, target: LabelMap) -> PairCounts:
    """Count the pixels of one refined map, with boundaries of LUSS's depth."""
    height, width = target.shape
    widths = Widths(boundary_width((height, width), PROTOCOL.boundary_ratio))
    return count_pairs(labels, prepare_target(target, widths))


def score(
    before: PairTable, after: PairTable, seconds: Sequence[float], images: int
) -> dict[str, Any]:
    """Return all numbers on the first ``images`` pictures; scores in [0, 1].

    Returns:
        "images"; "scores" by name with coarse and refined value, gain and its 95 % interval over
        resampled pictures; mean "seconds"; by class id IoU before and after, "class_boundaries" and
        "class_accuracy" likewise, the latter of the pictures that show the class, whose number
        comes last; objects by kind with mean IoU and boundary IoU before and after and the part
        that loses more than a point.
    """
    tables = [first(table, images) for table in (before, after)]
    labels = class_labels(PROTOCOL, tables)
    coarse, refined = (summarise(table, PROTOCOL, labels=labels) for table in tables)
    scores = {}
    for name in NUMBERS:
        gain = paired_bootstrap(coarse.scores[name], refined.scores[name])
        scores[name] = {
            "coarse": coarse.scores[name].value(),
            "refined": refined.scores[name].value(),
            "gain": gain.value,
            "interval": [gain.low, gain.high],
        }
    return {
        "images": images,
        "scores": scores,
        "seconds": float(np.mean(seconds[:images])),
        "classes": _by_class(coarse.classes.label, coarse.classes.iou, refined.classes.iou),
        "class_boundaries": _by_class(
            coarse.classes.label, coarse.classes.boundary_iou, refined.classes.boundary_iou
        ),
        "class_accuracy": class_accuracy(tables[0], coarse, refined),
        "kinds": by_kind(kinds_of(tables[0], coarse), coarse, refined),
    }


def _by_class(
    labels: NDArray[np.int32], before: NDArray[np.float64], after: NDArray[np.float64]
) -> dict[str, list[float]]:
    """Pair the scores of classes by id; those that no picture shows are left out."""
    return {
        str(label): [float(was), float(is_)]
        for label, was, is_ in zip(labels, before, after, strict=True)
        if not np.isnan(was)
    }


def class_accuracy(
    table: PairTable, coarse: Summary, refined: Summary
) -> dict[str, list[float | int]]:
    """Average Img-Acc before and after over the pictures that show a class, for each class.

    Returns:
        By class id the two shares and the number of pictures; the background is left out.
    """
    table = scored_rows(table)
    right = [summary.scores["image_accuracy"].sums.toarray()[:, 0] for summary in (coarse, refined)]
    found: dict[str, list[float | int]] = {}
    for label in np.unique(table.target[table.target > 0]).tolist():
        images = np.unique(table.image[table.target == label])
        found[str(label)] = [*(float(shares[images].mean()) for shares in right), len(images)]
    return found


def first(table: PairTable, count: int) -> PairTable:
    """Return the counts of the first pictures in order of name."""
    keep = table.image < count
    return PairTable(
        names=table.names[:count],
        image=table.image[keep],
        pred=table.pred[keep],
        target=table.target[keep],
        counts=table.counts[keep],
    )


def kinds_of(table: PairTable, summary: Summary) -> NDArray[np.int64]:
    """Return the index in ``KINDS`` of each object of the summary, from the coarse maps' counts."""
    table = scored_rows(table)
    found = []
    pixels = table.counts[:, PIXELS]
    for image, label, area, iou in zip(
        summary.objects.image,
        summary.objects.label,
        summary.objects.area,
        summary.objects.iou,
        strict=True,
    ):
        here = table.image == image
        inside = here & (table.target == label)
        classes = table.pred[inside]
        covered = {int(c): int(n) for c, n in zip(classes, pixels[inside], strict=True) if c > 0}
        own = covered.get(int(label), 0)
        predicted = int(pixels[here & (table.pred == label)].sum())
        if sum(covered.values()) < _COVERED * area:
            kind = "missed"
        elif max(covered.values()) > own:
            kind = "wrong class"
        elif iou >= _GOOD:
            kind = "good"
        else:
            kind = "part" if own / predicted >= own / area else "oversize"
        found.append(KINDS.index(kind))
    return np.array(found, np.int64)


def by_kind(kinds: NDArray[np.int64], coarse: Summary, refined: Summary) -> dict[str, Any]:
    """Average objects by kind of mistake; kinds without an object are left out."""
    rows = {}
    for index, name in enumerate(KINDS):
        keep = kinds == index
        if not keep.any():
            continue
        before, after = coarse.objects, refined.objects
        lost = before.iou[keep] - after.iou[keep] > 0.01
        rows[name] = {
            "objects": int(keep.sum()),
            "iou": [float(before.iou[keep].mean()), float(after.iou[keep].mean())],
            "boundary_iou": [
                float(before.boundary_iou[keep].mean()),
                float(after.boundary_iou[keep].mean()),
            ],
            "harmed": float(lost.mean()),
        }
    return rows
