"""Score folders of label maps against ground truth, and methods against each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from uosam.errors import ConfigError, InputError
from uosam.evaluation.conclude import conclude, judge
from uosam.evaluation.files import Counted, Counting, Matched, count_job, score_contours
from uosam.evaluation.pairs import Job, find_jobs
from uosam.evaluation.spread import run_jobs
from uosam.evaluation.types import EvaluateOptions, Evaluation, MethodResult
from uosam.io.binary import find_binary
from uosam.metrics.counts import PairTable, collect, join
from uosam.metrics.matching import check_match
from uosam.metrics.protocols import Protocol
from uosam.metrics.scores import mean_score

_CHUNK = 256


def evaluate(
    preds: Sequence[Path],
    target: Path,
    options: EvaluateOptions,
    *,
    progress: Callable[[int], None] | None = None,
    started: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score one or more folders of predictions against a folder of ground truth.

    Results depend neither on the order of files nor on the number of workers. Memory grows by the
    few label pairs of each image, not by its pixels.

    Args:
        preds: a folder (or file) for each method.
        target: folder (or file) of the ground truth.
        options: of the evaluation.
        progress: called with 1 after each image.
        started: called with the number of images before the first.

    Raises:
        InputError: any file is missing, extra or unusable; the message has a line for each.
        ConfigError: an option is out of range, or several methods share one table of names.
    """
    protocol = options.resolve()
    if options.named is not None and len(preds) > 1:
        raise ConfigError(
            f"names belong to the clusters of one folder, got {len(preds)} folders; score one at a "
            "time"
        )
    faults = [] if options.match is None else _match_faults(options.match, protocol)
    jobs, missing = find_jobs(preds, target, protocol.stored)
    faults += missing
    protocol, notes = _find_binary(protocol, jobs, preds, target)
    if started:
        started(len(jobs))
    trimap = tuple(sorted(set(options.trimap)))
    counting = Counting(protocol=protocol, thresholds=options.thresholds, trimap=trimap)
    count = partial(count_job, counting=counting)
    results = run_jobs(count, jobs, workers=options.workers, progress=progress)
    cuts = options.thresholds or (None,)
    counts = _gather(results, len(preds), len(cuts), faults)
    if faults:
        raise InputError(f"{len(faults)} fault(s), nothing was scored:\n" + "\n".join(faults))
    methods = [
        judge(name, dict(zip(cuts, tables, strict=True)), protocol, options, path=path)
        for name, path, tables in zip(method_names(preds), preds, counts, strict=True)
    ]
    if options.boundary_f is not None:
        _add_contours(methods, jobs, protocol, options)
    images = tuple(job.name for job in jobs)
    found = conclude(methods, images, protocol, options)
    return replace(found, target=target, jobs=tuple(jobs), notes=(*notes, *found.notes))


def _find_binary(
    protocol: Protocol, jobs: Sequence[Job], preds: Sequence[Path], target: Path
) -> tuple[Protocol, list[str]]:
    """Find the folders whose masks are binary, in which 255 is no "ignore"."""
    if protocol.luss or protocol.stored != "ids":
        return protocol, []
    folders = [(target, [job.target for job in jobs])]
    folders += [(path, [job.preds[index] for job in jobs]) for index, path in enumerate(preds)]
    binary, notes = [], []
    for folder, files in folders:
        top = find_binary(files)
        if top is not None:
            binary.append(str(folder))
            notes.append(f"{folder}: masks hold 0 and {top} alone, and {top} is taken for id 1")
    return replace(protocol, binary=tuple(binary)), notes


def _gather(
    results: Iterable[Counted], methods: int, cuts: int, faults: list[str]
) -> list[list[PairTable]]:
    """Collect the counts by method and threshold, images in order; adds to ``faults``."""
    parts: list[list[list[PairTable]]] = [
        [[collect([])] for _ in range(cuts)] for _ in range(methods)
    ]
    images = iter(results)
    # A chunk of images becomes one set of arrays: many small ones would weigh several times more.
    while chunk := list(islice(images, _CHUNK)):
        faults += [fault for counted in chunk for fault in counted.faults]
        if faults:
            continue
        for method, by_cut in enumerate(parts):
            for cut, tables in enumerate(by_cut):
                tables.append(collect((c.name, c.pairs[method][cut]) for c in chunk))
    return [[join(tables) for tables in by_cut] for by_cut in parts]


_UNLIKE = (OSError, ValueError, AttributeError, TypeError, KeyError)


def read_match(path: Path) -> dict[int, int]:
    """Read a matching: a ``match.json`` of the LUSS tools, or what ``uosam eval --json`` wrote.

    Raises:
        InputError: neither a JSON object of whole numbers nor an evaluation of one method.
    """
    try:
        stored = json.loads(path.read_text("utf-8"))
        if isinstance(stored, dict) and "methods" in stored:
            (method,) = stored["methods"]
            stored = method["match"]
        match = {int(pred): int(target) for pred, target in stored.items()}
        if any(not 0 <= label < 1 << 31 for pair in match.items() for label in pair):
            raise ValueError("ids that do not fit in 32 bits")
        return match
    except (*_UNLIKE, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path}: a matching must be a JSON object from predicted id to class id, such as "
            f'{{"1": 7}}, or an evaluation of one method, got {error}'
        ) from error


def method_names(preds: Sequence[Path]) -> list[str]:
    """Name methods by the last folder in which their paths differ.

    >>> method_names([Path("a/val"), Path("b/val")])
    ['a', 'b']
    """
    if len(preds) < 2:
        return [path.name or str(path) for path in preds]
    parts = [path.absolute().parts for path in preds]
    for back in range(1, max(map(len, parts)) + 1):
        names = [part[-back] if len(part) >= back else "/" for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path.name} {index}" for index, path in enumerate(preds, start=1)]


def _add_contours(
    methods: Sequence[MethodResult],
    jobs: Sequence[Job],
    protocol: Protocol,
    options: EvaluateOptions,
) -> None:
    """Read all images again, now that clusters have classes, and add boundary F to the scores."""
    assert options.boundary_f is not None
    matched = Matched(
        protocol=protocol,
        tolerance=options.boundary_f,
        matches=tuple(method.summary.match.classes for method in methods),
        cuts=tuple(method.threshold for method in methods),
    )
    score = partial(score_contours, matched=matched)
    found: list[list[float]] = [[] for _ in methods]
    image: list[list[int]] = [[] for _ in methods]
    for index, by_method in enumerate(run_jobs(score, jobs, workers=options.workers)):
        for values, images, scores in zip(found, image, by_method, strict=True):
            values += scores
            images += [index] * len(scores)
    for method, values, images in zip(methods, found, image, strict=True):
        method.summary.scores["object_boundary_F"] = mean_score(
            np.array(values, np.float64), np.array(images, np.int64), len(jobs)
        )


def _match_faults(match: Mapping[int, int], protocol: Protocol) -> list[str]:
    try:
        limit = protocol.classes or max([*match, *match.values(), 0]) + 1
        check_match(match, limit, background=protocol.background)
    except InputError as error:
        return [str(error)]
    return []
