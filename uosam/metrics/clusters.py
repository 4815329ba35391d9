"""From counts to a matching: which class each predicted cluster stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uosam.metrics.counts import PIXELS, Ids, PairTable, scored_rows
from uosam.metrics.matching import Solver, ambiguous_rows, assign
from uosam.metrics.protocols import Matching
from uosam.metrics.scores import Absent, label_index
from uosam.structures import IGNORE


@dataclass(frozen=True, kw_only=True)
class Match:
    """Which class each predicted id stands for.

    Attributes:
        classes: predicted id to class id; ids that stand for no class are left out.
        ambiguous: predicted ids that an equally good matching pairs otherwise, with effect on
            scores.
    """

    classes: Mapping[int, int]
    ambiguous: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NameScores:
    """How often the names of clusters are right.

    Attributes:
        ids: clusters in scored pixels.
        right: of these, how many are called what the truth has most of under them, background
            aside.
        pixels: share of the clusters' scored pixels that lie in those, in [0, 1].
        miou: of the maps that the names give, without any matching, in [0, 1].
    """

    ids: int
    right: int
    pixels: float
    miou: float = float("nan")


def score_names(
    table: PairTable, named: Mapping[int, int], background: int | None = None
) -> NameScores:
    """Compare the names of clusters with what lies under them.

    Args:
        table: counts of all images.
        named: predicted id to the class of its name; a class below 0 for a name that is none.
            Ids without an entry have no name, and count as wrong.
        background: id, of both sides, that is no cluster unless ``named`` has it, or None.

    >>> columns = np.eye(1, 6, dtype=np.int64).repeat(3, axis=0)
    >>> table = PairTable(names=("a",), image=np.zeros(3, np.int64), counts=columns,
    ...                   pred=np.array([7, 7, 8]), target=np.array([0, 1, 2]))
    >>> scores = score_names(table, {7: 1, 8: 1}, background=0)
    >>> scores.ids, scores.right, round(scores.pixels, 2)
    (2, 1, 0.67)
    """
    table = scored_rows(table)
    seen = np.unique(table.pred[table.pred >= 0])
    sources = np.array([i for i in seen.tolist() if i != background or i in named], np.int32)
    targets = np.unique(table.target[(table.target >= 0) & (table.target != background)])
    if not len(sources):
        return NameScores(ids=0, right=0, pixels=float("nan"))
    shared = pixel_gain(table, sources, targets.astype(np.int32))
    row = label_index(sources, table.pred)
    pixels = np.bincount(row[row >= 0], table.counts[row >= 0, PIXELS], minlength=len(sources))
    right = np.zeros(len(sources), bool)
    if len(targets):
        truth = targets[shared.argmax(axis=1)]
        called = np.array([named.get(i, IGNORE) for i in sources.tolist()])
        right = (called == truth) & shared.any(axis=1)
    return NameScores(
        ids=len(sources),
        right=int(right.sum()),
        pixels=float(pixels[right].sum() / max(1, pixels.sum())),
    )


def find_match(
    table: PairTable,
    labels: Ids,
    matching: Matching,
    solver: Solver,
    background: int | None,
    absent: Absent = "zero",
) -> Match:
    """Match the predicted ids of a data set to classes.

    Args:
        table: counts of all images.
        labels: sorted class ids.
        matching: those by presence fix the background and count images; "pixels" and "iou" let
            the background compete like any class, as the published codes do.
        solver: which optimum is taken.
        background: id of the background, or None.
        absent: what a class without pixels counts, which decides what an ambiguity changes.
    """
    if matching == "none":
        return Match(classes={int(label): int(label) for label in labels})
    if matching != "presence-anywhere":
        table = scored_rows(table)
    by_image = matching in ("presence", "presence-anywhere")
    fixed = {background: background} if by_image and background is not None else {}
    scored = table.pred >= 0
    known = np.union1d(labels, table.pred[scored]).astype(np.int32)
    sources = known[~np.isin(known, list(fixed))]
    targets = labels[~np.isin(labels, list(fixed))]
    gain: NDArray[Any]
    if by_image:
        gain = presence_gain(table, sources, targets)
    else:
        gain = shared = pixel_gain(table, sources, targets)
        if matching == "iou":
            gain = _ious(table, shared, sources, targets)
            if len(np.unique(table.pred[table.pred >= 0])) > len(targets):
                best = targets[gain.argmax(axis=1)]
                return Match(classes=dict(zip(sources.tolist(), best.tolist(), strict=True)))
    if gain.dtype.kind == "i" and solver != "scipy":
        columns = _assign_square(gain.astype(np.int64), solver)
    else:
        columns = assign(gain)
    rows = np.flatnonzero(columns >= 0)
    pairs = {int(sources[row]): int(targets[columns[row]]) for row in rows}
    seen = set(np.unique(table.pred[scored]).tolist())
    filled: dict[str, NDArray[np.bool_]] = {}
    if absent == "skip":
        filled["rows_filled"] = np.isin(sources, table.pred)
        filled["columns_filled"] = np.isin(targets, table.target)
    unsure = ambiguous_rows(gain, columns, **filled)
    return Match(
        classes=fixed | pairs,
        ambiguous=tuple(int(sources[r]) for r in unsure if sources[r] in seen),
    )


def _assign_square(gain: NDArray[np.int64], solver: Solver) -> NDArray[np.int64]:
    """Fill up to a square, as the packages do whose choice between optima is wanted."""
    size = max(gain.shape)
    square = np.zeros((size, size), gain.dtype)
    square[: gain.shape[0], : gain.shape[1]] = gain
    columns = assign(square, solver)[: len(gain)]
    return np.where(columns < gain.shape[1], columns, -1)


def presence_gain(table: PairTable, sources: Ids, targets: Ids) -> NDArray[np.int64]:
    """Count for every cluster and class the images that have both.

    Args:
        table: counts of all images.
        sources: sorted predicted ids.
        targets: sorted class ids.

    Returns:
        (sources, targets) numbers of images.
    """
    from scipy.sparse import coo_array

    present = []
    for ids, side in ((sources, table.pred), (targets, table.target)):
        index = label_index(ids, side)
        keep = index >= 0
        cells = np.unique(table.image[keep] * max(1, len(ids)) + index[keep])
        where = np.divmod(cells, max(1, len(ids)))
        shape = (len(table.names), len(ids))
        present.append(coo_array((np.ones(len(cells), np.int64), where), shape=shape).tocsr())
    return np.asarray((present[0].T @ present[1]).toarray(), np.int64)


def pixel_gain(table: PairTable, sources: Ids, targets: Ids) -> NDArray[np.int64]:
    """Count the pixels that every cluster and class share; arguments as in ``presence_gain``."""
    row, col = label_index(sources, table.pred), label_index(targets, table.target)
    keep = (row >= 0) & (col >= 0)
    flat = np.bincount(
        row[keep] * len(targets) + col[keep],
        table.counts[keep, PIXELS],
        minlength=len(sources) * len(targets),
    )
    return np.asarray(flat.reshape(len(sources), len(targets)), np.int64)


def _ious(
    table: PairTable, both: NDArray[np.int64], sources: Ids, targets: Ids
) -> NDArray[np.float64]:
    pixels = table.counts[:, PIXELS]
    row, col = label_index(sources, table.pred), label_index(targets, table.target)
    pred = np.bincount(row[row >= 0], pixels[row >= 0], minlength=len(sources))
    target = np.bincount(col[col >= 0], pixels[col >= 0], minlength=len(targets))
    union = pred[:, None] + target - both
    return np.asarray(both / np.maximum(union, 1e-8), np.float64)
