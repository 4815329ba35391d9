"""Counts to what is said about methods: scores, intervals, comparisons and notes; no files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.evaluation.types import (
    HEADLINES,
    Comparison,
    EvaluateOptions,
    Evaluation,
    MethodResult,
)
from uosam.metrics.bootstrap import MIN_IMAGES, bootstraps, paired_bootstraps
from uosam.metrics.clusters import Match, NameScores, score_names
from uosam.metrics.counts import PairTable
from uosam.metrics.protocols import Protocol
from uosam.metrics.summary import class_labels, summarise
from uosam.structures import IGNORE


def conclude(
    methods: Sequence[MethodResult],
    images: tuple[str, ...],
    protocol: Protocol,
    options: EvaluateOptions,
) -> Evaluation:
    """Compare every method with the first, and note what a reader must know.

    Args:
        methods: at least one, all of the same images.
        images: names, in order.
        protocol: as resolved.
        options: of the evaluation.
    """
    first, *others = methods
    return Evaluation(
        options=options,
        protocol=protocol,
        images=images,
        methods=tuple(methods),
        comparisons=tuple(_compare(first, other, options) for other in others),
        notes=_notes(protocol, options, methods, len(images)),
    )


def judge(
    name: str,
    tables: Mapping[float | None, PairTable],
    protocol: Protocol,
    options: EvaluateOptions,
    *,
    path: Path | None = None,
) -> MethodResult:
    """Summarise every threshold and keep the first of best mIoU; each finds its own matching.

    Args:
        name: of the method.
        tables: counts of all images for each threshold, or for None alone.
        protocol: of the evaluation.
        options: of the evaluation.
        path: where its predictions are.

    Raises:
        InputError: a given matching lacks a predicted id.
    """
    trimap = tuple(sorted(set(options.trimap)))
    given = None if options.match is None else _given_match(name, options.match, tables, protocol)
    known = None if given is None else given.classes
    labels = class_labels(protocol, list(tables.values()), known)
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
    keys = [key for key in HEADLINES if key in best.scores and options.resamples]
    found = bootstraps(
        [best.scores[key] for key in keys], resamples=options.resamples, level=options.level
    )
    return MethodResult(
        name=name,
        path=path,
        summary=best,
        intervals=dict(zip(keys, found, strict=True)),
        threshold=chosen,
        sweep=sweep,
        names=_judge_names(tables[chosen], protocol, options),
    )


def _judge_names(
    table: PairTable, protocol: Protocol, options: EvaluateOptions
) -> NameScores | None:
    """Score the names of clusters, if there are any, and the maps that they give."""
    if options.named is None:
        return None
    background = protocol.background
    nothing = IGNORE if background is None else background
    classes = {} if background is None else {background: background}
    classes |= options.named
    ids = np.unique(table.pred)
    new = np.array([classes.get(i, nothing) if i >= 0 else IGNORE for i in ids.tolist()], np.int32)
    named = replace(table, pred=new[np.searchsorted(ids, table.pred)])
    plain = replace(protocol, matching="none")
    summary = summarise(named, plain, labels=class_labels(plain, [named]))
    found = score_names(table, options.named, background)
    return replace(found, miou=summary.scores["mIoU"].value())


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
    keys = [key for key in HEADLINES if key in first.summary.scores]
    differences = paired_bootstraps(
        [(first.summary.scores[key], other.summary.scores[key]) for key in keys],
        resamples=options.resamples,
        level=options.level,
    )
    # Objects are those of the ground truth, hence the same rows for every method.
    before, after = first.summary.objects, other.summary.objects
    lost = before.iou - after.iou
    images, index = np.unique(before.image, return_inverse=True)
    by_image = np.bincount(index, lost, minlength=len(images))
    return Comparison(
        name=other.name,
        differences=dict(zip(keys, differences, strict=True)),
        images_worse=_part(by_image > _ROUNDING),
        objects_worse=_part(lost > _ROUNDING),
        objects_worse_1=_part(lost > 0.01),
    )


_ROUNDING = 1e-12
"""A sum of equal gains and losses may differ from 0 by this much."""


def _part(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


def _strangers(method: MethodResult, protocol: Protocol) -> list[str]:
    """Note that a prediction and the ground truth have no object id in common, if that is so."""
    table = method.summary.classes
    objects = table.label != (-1 if protocol.background is None else protocol.background)
    pred = table.label[objects & (table.pred_pixels > 0)]
    true = table.label[objects & (table.target_pixels > 0)]
    if not len(pred) or not len(true) or np.isin(pred, true).any():
        return []
    return [
        f"{method.name}: no object id of the predictions ({_some(pred)}) is in the ground truth "
        f"({_some(true)}); RGB files are read as R + 256 G, not as colours, and clusters need "
        "--matching"
    ]


def _some(ids: NDArray[np.int32]) -> str:
    return ", ".join(map(str, ids[:4])) + (", ..." if len(ids) > 4 else "")


def _notes(
    protocol: Protocol, options: EvaluateOptions, methods: Sequence[MethodResult], images: int
) -> tuple[str, ...]:
    notes = [protocol.caveat] if protocol.caveat else []
    if protocol.images and images not in protocol.images:
        sizes = " or ".join(map(str, protocol.images))
        notes.append(f"{images} images; the published splits have {sizes}")
    if options.resamples and images < MIN_IMAGES:
        notes.append(f"no intervals: {images} images tell nothing of others, {MIN_IMAGES} may")
    # Pixels do not depend on the method, but one may drop all of them.
    nothing = [m for m in methods if math.isnan(m.summary.scores["pixel_accuracy"].value())]
    if nothing:
        names = ", ".join(method.name for method in nothing)
        notes.append(
            f"{names}: no pixel was scored, since none has both a class in the ground truth and a "
            f"predicted id in range; is {options.protocol} the right protocol?"
        )
    elif protocol.background is not None and not len(methods[0].summary.objects.iou):
        notes.append(
            f"the ground truth holds no object, only background (id {protocol.background}) and "
            "ignored pixels, so the scores are of the background alone; is every id a class "
            "(--background none), or does the ignored value mean an object?"
        )
    for method in methods:
        if protocol.matching == "none" and options.match is None:
            notes += _strangers(method, protocol)
    undefined: dict[tuple[str, ...], list[str]] = {}
    for key in methods[0].summary.scores:
        of = tuple(m.name for m in methods if math.isnan(m.summary.scores[key].value()))
        if of:
            undefined.setdefault(of, []).append(key)
    for of, keys in undefined.items():
        whose = "" if len(of) == len(methods) else f"{', '.join(of)}: "
        notes.append(
            f"{whose}- stands for {', '.join(keys)}, since no pixel or object counts towards "
            f"{'them' if len(keys) > 1 else 'it'}"
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
