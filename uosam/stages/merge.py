"""One map from the redraws of many objects, which overlap and leave pixels to nobody."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from uosam.labels import from_logits
from uosam.stages.redraw import Redraws
from uosam.structures import Embedding, Floats, LabelMap

_INSIDE = 0.9
"""Share of a redraw inside a larger one from which on it lies on top of that."""
_SMALLER = 0.9
"""Share of the larger one's area up to which it counts as larger."""


def merge(
    coarse: LabelMap,
    redraws: Redraws,
    accepted: NDArray[np.bool_],
    embedding: Embedding,
    background: int | None,
    rule: str,
) -> LabelMap:
    """Compose one map from accepted redraws and the coarse shapes of everything else.

    Objects that were rejected or never asked about keep every coarse pixel. A pixel that an
    accepted object gave up and nobody took becomes background or, without a background, goes
    to the object whose claim there is highest. An object that the others would cover entirely
    keeps its coarse shape. IGNORE stays.

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
    merged = coarse.copy()
    # Running maxima: who is surest of a pixel, among masks that cover it and among all.
    owner, best = np.full(coarse.shape, -1), np.full(coarse.shape, -np.inf, np.float32)
    claimant, highest = np.zeros(coarse.shape, np.int64), np.full_like(best, -np.inf)
    order: Iterable[int] = taken
    if rule == "paint":
        order = taken[
            np.argsort([-np.count_nonzero(m) for m in redraws.masks[taken]], kind="stable")
        ]
    claims = redraws.logits if redraws.claims is None else redraws.claims
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
    while lost := [label for label in labels.tolist() if not (merged == label).any()]:
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
