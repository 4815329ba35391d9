"""One map from the redraws of many objects, which overlap and leave pixels to nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.labels import from_logits
from uosam.stages.redraw import Redraws
from uosam.structures import IGNORE, Embedding, Floats, LabelMap

_INSIDE = 0.9
"""Share of a redraw inside a larger one from which on it lies on top of that."""
_SMALLER = 0.9
"""Share of the larger one's area up to which it counts as larger."""
_STRAY = 0.2
"""Share of an object from which on a part that its coarse shape does not touch is no stray: a class
may lie in several places, of which the coarse map missed one."""


def merge(
    coarse: LabelMap,
    redraws: Redraws,
    accepted: NDArray[np.bool_],
    embedding: Embedding,
    background: int | None,
    rule: str,
) -> LabelMap:
    """Compose one map from accepted redraws and the coarse shapes of everything else.

    Objects that were rejected or never asked about keep every coarse pixel, but for those that
    yield (``Redraws.yields``). A pixel that an accepted object gave up and nobody took becomes
    background or, without a background, goes to the object whose claim there is highest. An object
    that the others would cover entirely keeps its coarse shape. IGNORE stays.

    Args:
        coarse: (H, W) labels.
        redraws: K candidates.
        accepted: (K,) which of them replace their coarse shape.
        embedding: of the picture.
        background: id of the background, or None.
        rule: as ``LocalRegionOptions.merge``; equal claims go to the earlier object.

    Returns:
        (H, W) labels.
    """
    taken = np.flatnonzero(accepted)
    labels = redraws.labels[taken]
    if not len(taken):
        return coarse.copy()
    free = np.isin(coarse, [*labels, *([] if background is None else [background])])
    claims = redraws.logits if redraws.claims is None else redraws.claims
    yields = np.zeros(len(accepted), bool) if redraws.yields is None else redraws.yields
    yielding = np.flatnonzero(yields & ~accepted)
    for keeper in yielding:
        left_out = from_logits(claims[keeper], embedding) < 0
        free |= (coarse == redraws.labels[keeper]) & left_out
    merged = coarse.copy()
    # Running maxima: who is surest of a pixel, among masks that cover it and among all.
    owner, best = np.full(coarse.shape, -1), np.full(coarse.shape, -np.inf, np.float32)
    claimant, highest = np.zeros(coarse.shape, np.int64), np.full_like(best, -np.inf)
    order: Iterable[int] = taken
    if rule == "paint":
        order = taken[
            np.argsort([-np.count_nonzero(m) for m in redraws.masks[taken]], kind="stable")
        ]
    above = _above(redraws.logits, taken) if rule == "logits" else None
    for index in order:
        mask, logits = redraws.masks[index], from_logits(claims[index], embedding)
        if above is not None:
            for other in np.flatnonzero(above[:, index]):
                mask = mask & ~redraws.masks[other]
        wins = mask if rule == "paint" else mask & ((owner < 0) | (logits > best))
        owner[wins], best[wins] = index, logits[wins]
        surer = logits > highest
        claimant[surer], highest[surer] = index, logits[surer]
    covered = free & (owner >= 0)
    merged[covered] = redraws.labels[owner[covered]]
    orphan = free & (owner < 0) & np.isin(coarse, labels)
    merged[orphan] = redraws.labels[claimant[orphan]] if background is None else background
    # Giving one object its coarse pixels back can cover another's last ones: until none is missing.
    at_stake = [*labels.tolist(), *redraws.labels[yielding].tolist()]
    while lost := [label for label in at_stake if not (merged == label).any()]:
        theirs = np.isin(coarse, lost)
        merged[theirs] = coarse[theirs]
    return merged


def _above(logits: Floats, taken: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which redraws lie on top of which: nearly all inside one that is larger.

    A dog on a sofa is drawn twice, as the dog and as a part of the sofa; the segmenter is no surer
    of one than of the other.

    Args:
        logits: (K, 4h, 4w).
        taken: indices of the redraws that count.

    Returns:
        (K, K) True where the first lies on the second.
    """
    cells = (logits[taken] > 0).reshape(len(taken), -1).astype(np.float32)
    shared = cells @ cells.T
    areas = np.diagonal(shared)
    on_top = (shared >= _INSIDE * areas[:, None]) & (areas[:, None] < _SMALLER * areas[None])
    result = np.zeros((len(logits), len(logits)), bool)
    result[np.ix_(taken, taken)] = on_top & (areas > 0)[:, None]
    return result


def without_strays(merged: LabelMap, coarse: LabelMap, labels: Sequence[int]) -> LabelMap:
    """Take small parts away from redrawn objects that do not touch their coarse shapes.

    Where a redraw reaches over other objects, these cut its ends off: hair and shoes of a person
    are no coat because the coat's redraw was the whole person, and the trousers lie on top.

    Args:
        merged: (H, W) labels.
        coarse: (H, W) labels that came in.
        labels: of the redrawn objects.

    Returns:
        (H, W) labels; each such part of less than a fifth of its object has the label most frequent
        around it.

    >>> coarse = np.array([[0, 1, 1, 1, 1, 1, 2, 0]], np.int32)
    >>> without_strays(np.array([[1, 1, 1, 1, 1, 1, 2, 1]], np.int32), coarse, [1, 2]).tolist()
    [[1, 1, 1, 1, 1, 1, 2, 2]]
    """
    result = merged
    for label in labels:
        shape = (merged == label).astype(np.uint8)
        count, ids, stats, _ = cv2.connectedComponentsWithStats(shape, connectivity=8)
        if count <= 2:
            continue
        held = np.bincount(ids[coarse == label], minlength=count)
        sizes = stats[1:, cv2.CC_STAT_AREA]
        held[1 + int(sizes.argmax())] = 1  # no object is erased
        small = sizes < _STRAY * sizes.sum()
        for part in np.flatnonzero((held[1:] == 0) & small) + 1:
            x, y, width, height = stats[part, : cv2.CC_STAT_AREA].tolist()
            rows, cols = slice(max(0, y - 1), y + height + 1), slice(max(0, x - 1), x + width + 1)
            piece = (ids[rows, cols] == part).astype(np.uint8)
            ring = cv2.dilate(piece, np.ones((3, 3), np.uint8)) > piece
            around = merged[rows, cols][ring]
            names, times = np.unique(around[around != IGNORE], return_counts=True)
            if len(names):
                result = merged.copy() if result is merged else result
                result[rows, cols][piece > 0] = names[times.argmax()]
    return result
