"""Files to counts: reading predictions and ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError, UosamError
from uosam.evaluation.pairs import Job
from uosam.io.binary import read_binary
from uosam.io.codecs import Choice, LabelFile, read_labels
from uosam.metrics.boundary import boundary_width
from uosam.metrics.contour import object_boundary_f
from uosam.metrics.counts import PairCounts, Target, Widths, count_pairs, prepare_target
from uosam.metrics.geometry import to_protocol
from uosam.metrics.protocols import Protocol, decode_target
from uosam.structures import IGNORE, LabelMap


@dataclass(frozen=True, kw_only=True)
class Counting:
    """What a worker needs to know.

    Attributes:
        protocol: of the evaluation.
        thresholds: foreground scores below which a prediction becomes background; empty for none.
        trimap: half-widths of bands in pixels, increasing.
    """

    protocol: Protocol
    thresholds: tuple[float, ...] = ()
    trimap: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Counted:
    """The counts of one image, or what is wrong with it.

    Attributes:
        name: of the image.
        pairs: for each method, for each threshold.
        faults: one line each.
    """

    name: str
    pairs: tuple[tuple[PairCounts, ...], ...] = ()
    faults: tuple[str, ...] = ()


def count_job(job: Job, counting: Counting) -> Counted:
    """Count one image; faults are collected, not raised."""
    protocol = counting.protocol
    try:
        target = read_target(job.target, protocol)
    except UosamError as error:
        return Counted(name=job.name, faults=(str(error),))
    pairs: list[tuple[PairCounts, ...]] = []
    faults: list[str] = []
    for path in job.preds:
        try:
            pairs.append(_count_prediction(path, target, counting))
        except UosamError as error:
            text = str(error)
            faults.append(text if str(path) in text else f"{path}: {text}")
    return Counted(name=job.name, pairs=tuple(pairs), faults=tuple(faults))


def read_target(path: Path, protocol: Protocol) -> LabelMap:
    """Read a ground truth as class ids of a protocol, IGNORE where nothing is scored.

    Raises:
        InputError: the file cannot be read, is of the wrong mode, or holds ids out of range.
    """
    found = _read_binary(path, protocol)
    if found is not None:
        return check_target(str(path), found, protocol)
    file = read_labels(path, colours=protocol.colours)
    _check_mode(path, file, protocol)
    return check_target(str(path), file.labels, protocol)


def check_target(path: str, labels: LabelMap, protocol: Protocol) -> LabelMap:
    """Turn stored ground-truth ids into classes of a protocol; ``path`` is for the message.

    Raises:
        InputError: an id is out of range.
    """
    target = decode_target(labels, protocol.stored)
    if protocol.classes is not None and target.size and target.max() >= protocol.classes:
        raise InputError(
            f"{path}: ground-truth ids must be 0 to {protocol.classes - 1}, got {target.max()}; "
            "choose the --protocol of this data set"
        )
    return target


def read_prediction(path: Path, protocol: Protocol) -> LabelMap:
    """Read a prediction as it was stored; in LUSS only ground truth can ignore pixels.

    Raises:
        InputError: the file cannot be read, is of the wrong mode, or holds ids out of range.
    """
    if protocol.luss and path.suffix.lower() in (".npy", ".npz"):
        # Foreground scores lie beside the masks; alone they must not be taken for one.
        raise InputError(
            f"{path}: expected the mask {path.stem}.png, found only this; LUSS masks are RGB PNG "
            "with id = R + 256 G, scores may lie beside them"
        )
    found = _read_binary(path, protocol)
    if found is not None:
        return check_prediction(str(path), found, protocol)
    ignore: Choice = None if protocol.luss else "default"
    file = read_labels(path, ignore=ignore, colours=protocol.colours)
    _check_mode(path, file, protocol)
    return check_prediction(str(path), file.labels, protocol)


def _read_binary(path: Path, protocol: Protocol) -> LabelMap | None:
    """Read a mask of a folder of binary masks."""
    binary = any(path.is_relative_to(folder) for folder in protocol.binary)
    return read_binary(path) if binary else None


def check_prediction(path: str, pred: LabelMap, protocol: Protocol) -> LabelMap:
    """Return predicted ids if a protocol takes them; ``path`` is for the message.

    Raises:
        InputError: an id is out of range.
    """
    # Clusters that vote by IoU may be more than classes.
    takes_all = protocol.classes is None or protocol.matching == "iou"
    if protocol.out_of_range == "error" and not takes_all:
        assert protocol.classes is not None
        if pred.max(initial=0) >= protocol.classes:
            strange = np.unique(pred[pred >= protocol.classes])
            shown = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
            raise InputError(
                f"{path}: predicted ids must be 0 to {protocol.classes - 1}, got {shown}; is this "
                "the right --protocol?"
            )
    return pred


def _check_mode(path: Path, file: LabelFile, protocol: Protocol) -> None:
    if protocol.luss and file.spec.codec != "luss":
        raise InputError(
            f"{path}: LUSS masks must be RGB PNG with id = R + 256 G, got a file of kind "
            f"{file.spec.codec!r}; write it as RGB"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Matched:
    """What a worker needs to draw contours, once clusters have their classes.

    Attributes:
        protocol: of the evaluation.
        tolerance: of the contours.
        matches: predicted id to class id, for each method.
        cuts: the threshold of each method, or None.
    """

    protocol: Protocol
    tolerance: float
    matches: tuple[Mapping[int, int], ...]
    cuts: tuple[float | None, ...]


def score_contours(job: Job, matched: Matched) -> list[list[float]]:
    """Return, for each method, the boundary F of every object of one image in order of label."""
    protocol = matched.protocol
    truth = read_target(job.target, protocol)
    scores = []
    for path, match, cut in zip(job.preds, matched.matches, matched.cuts, strict=True):
        classes, target = map_labels(path, truth, protocol, match, cut)
        found = object_boundary_f(
            classes, target, background=protocol.background, tolerance=matched.tolerance
        )
        scores.append(list(found.values()))
    return scores


def map_labels(
    path: Path,
    truth: LabelMap,
    protocol: Protocol,
    match: Mapping[int, int],
    cut: float | None,
) -> tuple[LabelMap, LabelMap]:
    """Read a prediction as classes, beside its ground truth at the protocol's size.

    Args:
        path: of the prediction.
        truth: (H, W) ground truth as read.
        protocol: of the evaluation.
        match: predicted id to class id; other ids become IGNORE.
        cut: threshold of the foreground scores, or None.
    """
    (labels,) = _cut_maps(path, protocol, () if cut is None else (cut,))
    pred, target = _to_scored(labels, truth, protocol)
    classes = np.full_like(pred, IGNORE)
    for source in np.unique(pred).tolist():
        classes[pred == source] = match.get(source, IGNORE)
    return classes, target


def _count_prediction(path: Path, target: LabelMap, counting: Counting) -> tuple[PairCounts, ...]:
    return count_maps(_cut_maps(path, counting.protocol, counting.thresholds), target, counting)


def count_maps(
    maps: Sequence[LabelMap], target: LabelMap, counting: Counting
) -> tuple[PairCounts, ...]:
    """Count (H, W) predicted ids, such as one map for each threshold, against class ids.

    Raises:
        InputError: the sizes are not those that the protocol takes.
    """
    protocol = counting.protocol
    prepared: Target | None = None
    counted = []
    for labels in maps:
        pred, scored = _to_scored(labels, target, protocol)
        if prepared is None or not np.array_equal(scored, prepared.labels):
            width = boundary_width(scored.shape, protocol.boundary_ratio)
            prepared = prepare_target(scored, Widths(width, counting.trimap))
        counted.append(count_pairs(pred, prepared))
    return tuple(counted)


def _cut_maps(path: Path, protocol: Protocol, thresholds: Sequence[float]) -> list[LabelMap]:
    """Read a prediction, and cut it at each threshold if there are any."""
    stored = read_prediction(path, protocol)
    if not thresholds:
        return [stored]
    scores = _read_scores(path, stored.shape)
    background = np.int32(protocol.background or 0)
    return [np.where(scores < np.float32(cut), background, stored) for cut in thresholds]


def _to_scored(labels: LabelMap, target: LabelMap, protocol: Protocol) -> tuple[LabelMap, LabelMap]:
    """Bring both maps to the protocol's size, and ignore what the protocol drops."""
    pred, scored = to_protocol(labels, target, protocol.geometry)
    if protocol.out_of_range == "dropped" and protocol.classes is not None:
        known = (pred >= 0) & (pred < protocol.classes)
        scored = scored if known.all() else np.where(known, scored, IGNORE).astype(np.int32)
    return pred, scored


def _read_scores(path: Path, hw: tuple[int, ...]) -> NDArray[np.float32]:
    """Read the foreground scores that PASS writes beside a mask, under its name with ``.npy``."""
    beside = path.with_suffix(".npy")
    try:
        scores = np.load(beside, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{beside}: a threshold needs the foreground scores of each mask ({error}); write them "
            "beside it or leave out the threshold"
        ) from error
    if scores.shape != hw or scores.dtype.kind != "f":
        raise InputError(
            f"{beside}: foreground scores must be float of the mask's size {hw}, got "
            f"{scores.shape} {scores.dtype}"
        )
    return np.asarray(scores, np.float32)
