"""Cells to rows: scores, gains over the coarse masks with intervals, and who was harmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy.sparse import block_diag, csr_array

from uosam.bench.cell import BOUNDARY_RATIO
from uosam.bench.set import BenchSet
from uosam.bench.stored_cell import Cell
from uosam.evaluation.types import HEADLINES
from uosam.metrics.bootstrap import Interval, paired_bootstrap
from uosam.metrics.clusters import find_match
from uosam.metrics.counts import scored_rows
from uosam.metrics.protocols import Protocol
from uosam.metrics.scores import Doubles, Score
from uosam.metrics.summary import Summary, class_labels, summarise

HARM = 0.01
"""An object that loses more IoU than this counts as harmed."""

_OBJECT_SCORES = ("object_IoU", "object_boundary_IoU")

nan = float("nan")


@dataclass(frozen=True, eq=False, kw_only=True)
class Entry:
    """A cell with what it is compared with.

    Attributes:
        data: the set.
        method: name.
        seed: of the method or the coarse masks; None where nothing draws.
        cell: of the method.
        coarse: of the coarse masks, on the same pictures.
    """

    data: BenchSet
    method: str
    seed: int | None
    cell: Cell
    coarse: Cell


@dataclass(frozen=True, eq=False, kw_only=True)
class BenchRow:
    """A line of the leaderboard.

    Attributes:
        kind: "measured" or "published".
        data: name of the set.
        method: name of the method.
        seed: or None.
        images: number of pictures.
        objects: number of ground-truth objects.
        scores: by name, in [0, 1]; what is not defined is absent.
        gains: of the scores over the coarse masks, in [-1, 1].
        harmed: part of the objects that lose more than one point of IoU.
        seconds: mean wall time of a picture.
        peak_mb: memory.
        note: why there are no numbers, or what to know about them.
    """

    kind: str = "measured"
    data: str
    method: str
    seed: int | None = None
    images: int | None = None
    objects: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    gains: Mapping[str, Interval] = field(default_factory=dict)
    harmed: float = nan
    seconds: float = nan
    peak_mb: float = nan
    note: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Compared:
    """Both summaries of an entry, under one matching."""

    coarse: Summary
    method: Summary


def compare(entry: Entry) -> Compared:
    """Score a cell and its coarse masks.

    Clusters get their classes once, from the coarse masks of the whole set; the refined masks keep
    that matching, so that a gain is never a luckier matching.
    """
    tables = [entry.coarse.table, entry.cell.table]
    protocol = Protocol(
        title="bench",
        background=entry.data.background,
        matching=entry.data.matching,
        boundary_ratio=BOUNDARY_RATIO,
    )
    if protocol.matching == "none":
        labels = class_labels(protocol, tables)
    else:
        target = scored_rows(tables[0]).target
        labels = np.unique(target[target >= 0]).astype(np.int32)
    match = find_match(tables[0], labels, protocol.matching, protocol.solver, protocol.background)
    coarse, method = (summarise(table, protocol, labels=labels, match=match) for table in tables)
    return Compared(coarse=coarse, method=method)


def score_row(entry: Entry, compared: Compared | None, resamples: int) -> BenchRow:
    """Make the row of a cell; ``compared`` is None for a cell that failed."""
    row = BenchRow(data=entry.data.name, method=entry.method, seed=entry.seed)
    if compared is None:
        return BenchRow(
            data=row.data, method=row.method, seed=row.seed, note=f"failed: {entry.cell.error}"
        )
    names = _OBJECT_SCORES if entry.data.instances else HEADLINES
    before, after = compared.coarse.scores, compared.method.scores
    kept = [name for name in names if name in after]
    return BenchRow(
        data=row.data,
        method=row.method,
        seed=row.seed,
        images=len(entry.cell.table.names),
        objects=len(compared.method.objects.iou),
        scores={name: after[name].value() for name in kept},
        gains=_gains({name: (before[name], after[name]) for name in kept}, resamples),
        harmed=harmed(compared),
        seconds=float(np.mean(entry.cell.seconds)),
        peak_mb=entry.cell.peak_mb,
    )


def _gains(pairs: Mapping[str, tuple[Score, Score]], resamples: int) -> dict[str, Interval]:
    return {
        name: paired_bootstrap(before, after, resamples=resamples)
        for name, (before, after) in pairs.items()
    }


def harmed(compared: Compared) -> float:
    """Return the part of the objects that lose more than one point; nan without objects."""
    lost = compared.coarse.objects.iou - compared.method.objects.iou
    return float((lost > HARM).mean()) if len(lost) else nan


def mean_row(
    method: str, entries: Sequence[tuple[Entry, Compared | None]], resamples: int
) -> BenchRow:
    """Average a method over sets, every set weighing the same, with intervals of the average.

    A score is averaged over the sets that have it. Time is the mean of the sets' means, memory the
    largest. A method that failed on a set has no average.
    """
    name = f"mean of {len(entries)}"
    failed = [entry.data.name for entry, compared in entries if compared is None]
    if failed:
        return BenchRow(data=name, method=method, note=f"failed on {', '.join(failed)}")
    good = [(entry, compared) for entry, compared in entries if compared is not None]
    pairs = {}
    for key in HEADLINES:
        having = [
            compared
            for entry, compared in good
            if key in compared.method.scores and (key in _OBJECT_SCORES or not entry.data.instances)
        ]
        if having:
            pairs[key] = (
                average([compared.coarse.scores[key] for compared in having]),
                average([compared.method.scores[key] for compared in having]),
            )
    return BenchRow(
        data=name,
        method=method,
        images=sum(len(entry.cell.table.names) for entry, _ in good),
        objects=sum(len(compared.method.objects.iou) for _, compared in good),
        scores={key: after.value() for key, (_, after) in pairs.items()},
        gains=_gains(pairs, resamples),
        harmed=float(np.mean([harmed(compared) for _, compared in good])),
        seconds=float(np.mean([np.mean(entry.cell.seconds) for entry, _ in good])),
        peak_mb=max(entry.cell.peak_mb for entry, _ in good),
    )


def average(scores: Sequence[Score]) -> Score:
    """Make the mean of scores of different images one score, so that it can be resampled.

    >>> from uosam.metrics.scores import mean_score
    >>> first = mean_score(np.array([0.2, 0.4]), np.array([0, 1]), 2)
    >>> second = mean_score(np.array([0.9]), np.array([0]), 1)
    >>> round(average([first, second]).value(), 3)
    0.6
    """
    sums = csr_array(block_diag([score.sums for score in scores], format="csr"))
    ends = np.cumsum([score.sums.shape[1] for score in scores])
    finish = partial(_finish_each, scores=tuple(scores), ends=tuple(int(end) for end in ends))
    return Score(sums=sums, finish=finish)


def _finish_each(totals: Doubles, scores: Sequence[Score], ends: Sequence[int]) -> Doubles:
    parts = np.split(totals, ends[:-1], axis=1)
    values = np.stack([s.finish(part) for s, part in zip(scores, parts, strict=True)], axis=1)
    there = ~np.isnan(values)
    # A resample may miss a small set altogether.
    return np.asarray(
        np.where(there, values, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1), np.float64
    )
