"""Files to counts: pairing predictions with ground truth, reading them, and spreading the work."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError, UosamError
from uosam.io.codecs import read_labels
from uosam.io.pairs import find_pairs
from uosam.metrics.boundary import boundary_width
from uosam.metrics.counts import PairCounts, Target, Widths, count_pairs, prepare_target
from uosam.metrics.geometry import to_protocol
from uosam.metrics.protocols import Protocol, decode_target
from uosam.structures import IGNORE, LabelMap


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image of an evaluation.

    Attributes:
        name: relative path of the ground truth without suffix.
        target: the ground truth.
        preds: the prediction of each method.
    """

    name: str
    target: Path
    preds: tuple[Path, ...]


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


def find_jobs(preds: Sequence[Path], target: Path) -> tuple[list[Job], list[str]]:
    """Pair the files of every method with the ground truth.

    Returns:
        The images that every method has, in order of name, and a line for each missing or extra
        prediction and each folder that cannot be listed.

    Raises:
        InputError: a folder is missing or two files claim the same partner.
    """
    found: list[dict[Path, Path]] = []
    faults: list[str] = []
    for pred in preds:
        pairs = find_pairs(target, pred)
        found.append({s.image: s.coarse for s in pairs.samples if s.image and s.coarse})
        faults += pairs.unreadable
        faults += [f"{path}: no prediction in {pred}" for path in pairs.unpaired_images]
        faults += [f"{path}: no ground truth in {target}" for path in pairs.unpaired_masks]
    shared = set.intersection(*(set(pairs) for pairs in found)) if found else set()
    if not shared and not faults:
        faults.append(f"{target}: expected label maps, found none")
    root = target if target.is_dir() else target.parent
    jobs = [
        Job(
            name=path.relative_to(root).with_suffix("").as_posix(),
            target=path,
            preds=tuple(pairs[path] for pairs in found),
        )
        for path in sorted(shared)
    ]
    return jobs, list(dict.fromkeys(faults))


def count_jobs(
    jobs: Sequence[Job],
    counting: Counting,
    *,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Counted]:
    """Count all images, one after the other or in processes of their own.

    Args:
        jobs: what to count.
        counting: how.
        workers: 1 counts in this process; more start as many.
        progress: called with 1 after each image.
    """
    count = partial(count_job, counting=counting)
    if workers <= 1:
        results: Iterator[Counted] = map(count, jobs)
        yield from _report(results, progress)
        return
    # Spawned, not forked: a fork copies the locks of OpenCV's and BLAS's threads in any state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        chunk = max(1, min(32, len(jobs) // (4 * workers)))
        remaining = iter(jobs)
        # In slices, so that neither jobs nor results of a large set pile up in the queues.
        while batch := list(islice(remaining, 16 * chunk * workers)):
            yield from _report(pool.map(count, batch, chunksize=chunk), progress)


def _report(
    results: Iterator[Counted], progress: Callable[[int], None] | None
) -> Iterator[Counted]:
    for result in results:
        if progress:
            progress(1)
        yield result


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


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
    target = decode_target(read_labels(path).labels, protocol.stored)
    if protocol.classes is not None and target.size and target.max() >= protocol.classes:
        raise InputError(
            f"{path}: ground-truth ids must be 0 to {protocol.classes - 1}, got {target.max()}; "
            "choose the --protocol of this data set"
        )
    if protocol.luss:
        _check_rgb(path)
    return target


def read_prediction(path: Path, protocol: Protocol) -> LabelMap:
    """Read a prediction as it was stored; only ground truth can ignore pixels in LUSS.

    Raises:
        InputError: the file cannot be read, is of the wrong mode, or holds ids out of range.
    """
    if protocol.luss:
        _check_rgb(path)
    pred = read_labels(path, ignore=None).labels if protocol.luss else read_labels(path).labels
    if protocol.out_of_range == "error" and protocol.classes is not None:
        strange = np.unique(pred[(pred >= protocol.classes) | ((pred < 0) & protocol.luss)])
        if len(strange):
            shown = ", ".join(map(str, strange[:5])) + (", ..." if len(strange) > 5 else "")
            raise InputError(
                f"{path}: predicted ids must be 0 to {protocol.classes - 1}, got {shown}"
            )
    return pred


def _check_rgb(path: Path) -> None:
    from uosam.io.stored import read_stored

    codec = read_stored(path).codec
    if codec != "luss":
        raise InputError(
            f"{path}: LUSS masks must be RGB PNG with id = R + 256 G, got a file of kind {codec!r}"
        )


def _count_prediction(path: Path, target: LabelMap, counting: Counting) -> tuple[PairCounts, ...]:
    protocol = counting.protocol
    stored = read_prediction(path, protocol)
    maps = [stored]
    if counting.thresholds:
        scores = _read_scores(path, stored.shape)
        background = protocol.background or 0
        maps = [
            np.where(scores < np.float32(threshold), np.int32(background), stored)
            for threshold in counting.thresholds
        ]
    prepared: Target | None = None
    counted = []
    for labels in maps:
        pred, scaled = to_protocol(labels, target, protocol.geometry)
        if protocol.out_of_range == "dropped" and protocol.classes is not None:
            known = (pred >= 0) & (pred < protocol.classes)
            scaled = scaled if known.all() else np.where(known, scaled, IGNORE).astype(np.int32)
        if prepared is None or not np.array_equal(scaled, prepared.labels):
            width = boundary_width(scaled.shape, protocol.boundary_ratio)
            prepared = prepare_target(scaled, Widths(width, counting.trimap))
        counted.append(count_pairs(pred, prepared))
    return tuple(counted)


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
