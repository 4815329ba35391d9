"""All scores of a protocol from the counts of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uosam.metrics.clusters import Match, find_match
from uosam.metrics.counts import PIXELS, TRIMAP, Ids, PairTable, scored_rows
from uosam.metrics.luss import SizeRule, f_beta, image_accuracy, size_scores
from uosam.metrics.objects import ObjectTable, object_table
from uosam.metrics.protocols import Protocol
from uosam.metrics.scores import (
    AREA,
    EDGES,
    Doubles,
    Score,
    class_ious,
    class_sums,
    iou_score,
    label_index,
    mean_precision,
    mean_score,
    ratio,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassTable:
    """A row for each class, in the order of ids.

    Attributes:
        label: (C,) class id.
        iou: (C,) in [0, 1]; nan or 0 for absent classes, as the protocol has it.
        boundary_iou: (C,) likewise.
        pred_pixels: (C,) predicted pixels.
        target_pixels: (C,) ground-truth pixels.
        images: (C,) images with ground truth of the class.
    """

    label: Ids
    iou: Doubles
    boundary_iou: Doubles
    pred_pixels: NDArray[np.int64]
    target_pixels: NDArray[np.int64]
    images: NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Summary:
    """What a protocol says about one method.

    Attributes:
        scores: by name, each in [0, 1].
        match: of predicted ids to classes.
        classes: a row for each class.
        objects: a row for each object.
    """

    scores: dict[str, Score]
    match: Match
    classes: ClassTable
    objects: ObjectTable


def class_labels(
    protocol: Protocol, tables: Sequence[PairTable], match: Mapping[int, int] | None = None
) -> Ids:
    """Return the sorted class ids: the protocol's, or else all that occur in scored pixels.

    Predicted ids are classes only where nothing is matched; clusters are none.

    Args:
        protocol: of the evaluation.
        tables: counts of all images.
        match: predicted id to class id, if it is given.
    """
    if protocol.classes is not None:
        return np.arange(protocol.classes, dtype=np.int32)
    tables = [scored_rows(table) for table in tables]
    found = [table.target[table.target >= 0] for table in tables]
    if match is not None:
        found.append(np.array(sorted(set(match.values())), np.int32))
    elif protocol.matching == "none":
        found += [table.pred[table.pred >= 0] for table in tables]
    elif protocol.background is not None and protocol.matching.startswith("presence"):
        found.append(np.array([protocol.background], np.int32))
    return np.unique(np.concatenate([np.empty(0, np.int32), *found])).astype(np.int32)


def summarise(
    table: PairTable,
    protocol: Protocol,
    *,
    labels: Ids,
    trimap: Sequence[int] = (),
    sizes: SizeRule = "current",
    match: Match | None = None,
) -> Summary:
    """Compute every score of a protocol.

    Args:
        table: counts of all images.
        protocol: matching, averaging and what belongs to it.
        labels: sorted class ids.
        trimap: half-widths in pixels of the bands that ``table`` has columns for.
        sizes: how LUSS object sizes are averaged.
        match: given instead of found.
    """
    from scipy.sparse import csr_array

    if match is None:
        match = find_match(
            table,
            labels,
            protocol.matching,
            protocol.solver,
            protocol.background,
            "skip" if protocol.precision else protocol.absent,
        )
    table = scored_rows(table)
    sources = np.array(sorted(match.classes), np.int32)
    targets = np.array([match.classes[int(source)] for source in sources], np.int32)
    found = label_index(sources, table.pred)
    matched = np.where(found >= 0, targets[found] if len(targets) else -1, -1).astype(np.int32)
    pred, target = label_index(labels, matched), label_index(labels, table.target)

    count = len(labels)
    area, edges = (class_sums(table, pred, target, count, columns) for columns in (AREA, EDGES))
    scores = {
        "mIoU": iou_score(area, protocol.absent),
        "boundary_mIoU": iou_score(edges, protocol.absent),
    }
    images = len(table.names)
    pixels = table.counts[:, PIXELS].astype(np.float64)
    right = np.stack(
        [
            np.bincount(table.image, pixels * (pred == target), minlength=images),
            np.bincount(table.image, pixels, minlength=images),
        ],
        axis=1,
    )
    scores["pixel_accuracy"] = Score(sums=csr_array(right), finish=ratio)
    if protocol.precision:
        scores["mean_precision"] = Score(sums=area, finish=mean_precision)
    if protocol.background is not None:
        foreground = [_objects_above_0(ids, protocol.background) for ids in (matched, table.target)]
        scores["image_accuracy"] = image_accuracy(table, *foreground)
        scores["F_beta"] = f_beta(table, *foreground)
    if protocol.luss:
        scores |= size_scores(table, pred, target, count, sizes)
    objects = object_table(
        table, matched.astype(np.int64), table.target.astype(np.int64), protocol.background
    )
    scores["object_IoU"] = mean_score(objects.iou, objects.image, images)
    scores["object_boundary_IoU"] = mean_score(objects.boundary_iou, objects.image, images)
    for band, width in enumerate(trimap):
        column = TRIMAP + band
        sums = class_sums(table, pred, target, count, (column, column, column))
        scores[f"trimap_{width}_mIoU"] = iou_score(sums, protocol.absent)
    rows = _row_order(protocol, labels, match)
    for name, (first, last) in protocol.groups.items():
        group = rows[first:last]
        sums = area
        if protocol.cluster_rows:  # PiCIE scores the group's sub-matrix: no confusion with others
            inside = np.isin(pred, group) & np.isin(target, group)
            sums = class_sums(
                table, np.where(inside, pred, -1), np.where(inside, target, -1), count, AREA
            )
        keep = np.concatenate([group + part * count for part in range(3)])
        scores[f"{name}_mIoU"] = iou_score(sums[:, keep], protocol.absent)
    return Summary(
        scores=scores,
        match=match,
        classes=_class_table(area, edges, protocol, labels, rows),
        objects=objects,
    )


def _objects_above_0(ids: Ids, background: int) -> NDArray[np.int64]:
    """Shift ids so that the background is 0, objects are above it in their order, none is -1."""
    return np.where(ids == background, 0, np.where(ids < 0, -1, ids + 1)).astype(np.int64)


def _row_order(protocol: Protocol, labels: Ids, match: Match) -> NDArray[np.int64]:
    """Return which class stands in each row of the per-class table."""
    if not protocol.cluster_rows:
        return np.arange(len(labels))
    return label_index(labels, np.array([match.classes[int(k)] for k in labels], np.int32))


def _class_table(
    area: csr_array, edges: csr_array, protocol: Protocol, labels: Ids, rows: NDArray[np.int64]
) -> ClassTable:
    totals = np.asarray(area.sum(axis=0), np.float64)
    edge_totals = np.asarray(edges.sum(axis=0), np.float64)
    count = len(labels)
    in_images = np.bincount(area.indices[area.data > 0], minlength=3 * count)[count : 2 * count]
    return ClassTable(
        label=labels,
        iou=class_ious(totals[None], protocol.absent)[0][rows],
        boundary_iou=class_ious(edge_totals[None], protocol.absent)[0][rows],
        pred_pixels=totals[:count].astype(np.int64)[rows],
        target_pixels=totals[count : 2 * count].astype(np.int64)[rows],
        images=in_images[rows].astype(np.int64),
    )
