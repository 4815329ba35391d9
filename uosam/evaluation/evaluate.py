"""Score folders of label maps against ground truth, and methods against each other."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.evaluation.files import Counted, Counting, Matched, count_job, run_jobs, score_contours
from uosam.evaluation.pairs import Job, find_jobs
from uosam.evaluation.types import (
    HEADLINES,
    Comparison,
    EvaluateOptions,
    Evaluation,
    MethodResult,
)
from uosam.metrics.bootstrap import bootstrap, paired_bootstrap
from uosam.metrics.clusters import Match
from uosam.metrics.counts import PairTable, collect, join
from uosam.metrics.matching import check_match
from uosam.metrics.protocols import Protocol
from uosam.metrics.scores import mean_score
from uosam.metrics.summary import class_labels, summarise

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
        ConfigError: an option is out of range.
    """
    protocol = options.resolve()
    faults = [] if options.match is None else _match_faults(options.match, protocol)
    jobs, missing = find_jobs(preds, target, protocol.stored)
    faults += missing
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
        _best_cut(name, path, dict(zip(cuts, tables, strict=True)), protocol, options, trimap)
        for name, path, tables in zip(method_names(preds), preds, counts, strict=True)
    ]
    if options.boundary_f is not None:
        _add_contours(methods, jobs, protocol, options)
    first, *others = methods
    return Evaluation(
        options=options,
        protocol=protocol,
        target=target,
        jobs=tuple(jobs),
        methods=tuple(methods),
        comparisons=tuple(_compare(first, other, options) for other in others),
        notes=_notes(protocol, options, methods, len(jobs)),
    )


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
        return {int(pred): int(target) for pred, target in stored.items()}
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
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


def _best_cut(
    name: str,
    path: Path,
    tables: Mapping[float | None, PairTable],
    protocol: Protocol,
    options: EvaluateOptions,
    trimap: Sequence[int],
) -> MethodResult:
    """Summarise every threshold and keep the first of best mIoU; each finds its own matching."""
    labels = class_labels(protocol, list(tables.values()))
    given = None if options.match is None else _given_match(name, options.match, tables, protocol)
    sweep: dict[float, float] = {}
    chosen, best = None, None
    for cut, table in tables.items():
        summary = summarise(
            table, protocol, labels=labels, trimap=trimap, sizes=options.sizes, match=given
        )
        if cut is not None:
            sweep[cut] = summary.scores["mIoU"].value()
        if best is None or sweep.get(cut or 0, -1) > sweep.get(chosen or 0, -1):
            chosen, best = cut, summary
    assert best is not None  # there is always at least one table
    intervals = {
        key: bootstrap(best.scores[key], resamples=options.resamples, level=options.level)
        for key in HEADLINES
        if key in best.scores and options.resamples
    }
    return MethodResult(
        name=name, path=path, summary=best, intervals=intervals, threshold=chosen, sweep=sweep
    )


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


def _given_match(
    name: str,
    match: Mapping[int, int],
    tables: Mapping[float | None, PairTable],
    protocol: Protocol,
) -> Match:
    fixed = {} if protocol.background is None else {protocol.background: protocol.background}
    classes = fixed | dict(match)
    seen = np.unique(np.concatenate([table.pred for table in tables.values()]))
    lacking = [pred for pred in seen.tolist() if pred >= 0 and pred not in classes]
    if lacking:
        raise InputError(
            f"{name}: the matching must name every predicted id, but lacks {lacking}; match on "
            "the same predictions"
        )
    return Match(classes=classes)


def _compare(first: MethodResult, other: MethodResult, options: EvaluateOptions) -> Comparison:
    differences = {
        key: paired_bootstrap(
            first.summary.scores[key],
            other.summary.scores[key],
            resamples=options.resamples,
            level=options.level,
        )
        for key in HEADLINES
        if key in first.summary.scores
    }
    # Objects are those of the ground truth, hence the same rows for every method.
    before, after = first.summary.objects, other.summary.objects
    lost = before.iou - after.iou
    images, index = np.unique(before.image, return_inverse=True)
    by_image = np.bincount(index, lost, minlength=len(images))
    return Comparison(
        name=other.name,
        differences=differences,
        images_worse=_part(by_image > _ROUNDING),
        objects_worse=_part(lost > _ROUNDING),
        objects_worse_1=_part(lost > 0.01),
    )


_ROUNDING = 1e-12
"""A sum of equal gains and losses may differ from 0 by this much."""


def _part(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def _notes(
    protocol: Protocol, options: EvaluateOptions, methods: Sequence[MethodResult], images: int
) -> tuple[str, ...]:
    notes = [protocol.caveat] if protocol.caveat else []
    if protocol.images and images not in protocol.images:
        sizes = " or ".join(map(str, protocol.images))
        notes.append(f"{images} images; the published splits have {sizes}")
    # Pixels do not depend on the method, but one may drop all of them.
    nothing = [m for m in methods if math.isnan(m.summary.scores["pixel_accuracy"].value())]
    if nothing:
        names = ", ".join(method.name for method in nothing)
        notes.append(
            f"{names}: no pixel was scored, since none has both a class in the ground truth and a "
            f"predicted id in range; is {options.protocol} the right protocol?"
        )
    if len(options.thresholds) > 1:
        notes.append("the threshold was chosen on the scored images themselves, as PASS does")
    for method in methods:
        if method.summary.match.ambiguous:
            ids = method.summary.match.ambiguous
            shown = ", ".join(map(str, ids[:8])) + (", ..." if len(ids) > 8 else "")
            notes.append(
                f"{method.name}: the best matching is not unique for predicted ids {shown}; "
                f"solver {protocol.solver!r} decided, others may score differently"
            )
    return tuple(notes)


def _match_faults(match: Mapping[int, int], protocol: Protocol) -> list[str]:
    try:
        limit = protocol.classes or max([*match, *match.values(), 0]) + 1
        check_match(match, limit, background=protocol.background)
    except InputError as error:
        return [str(error)]
    return []
