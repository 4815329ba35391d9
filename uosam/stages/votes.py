"""The vote of whole-picture proposals over a label map.

Semantic voting as in UO-SAM (arXiv 2405.11742, "IWS" and "CVM") and SSA: each proposal takes the
label most frequent inside it, large proposals first, always counted on the map as it came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uosam.demand import MaskStack
from uosam.structures import IGNORE, LabelMap, Mask, Masks

if TYPE_CHECKING:
    from uosam.stages.global_region import GlobalRegionOptions


def vote(
    labels: LabelMap,
    masks: Masks | MaskStack,
    options: GlobalRegionOptions,
    background: int | None,
) -> LabelMap:
    """Give every proposal the label most frequent inside it, large proposals first.

    Votes are counted on ``labels`` as it came in, so their order does not matter; where proposals
    overlap the smaller one decides, of equal ones the later. A tie goes to the lower id. IGNORE
    pixels neither vote nor change, and pixels of no proposal keep their label, or become IGNORE if
    ``uncovered`` says so. With
    ``background_votes`` off the background is not counted, but a proposal without any object in it
    stays as it is. Labels that would shrink to less than half keep their pixels if ``protect``.

    Args:
        labels: (H, W).
        masks: (M, H, W) proposals; of those on an accelerator only what wins is fetched.
        options: thresholds.
        background: id of the background, or None.

    Returns:
        (H, W) labels.
    """
    voted = labels.copy()
    known = labels != IGNORE
    for index, counts in _counted(labels, masks, known):
        total = counts.sum()
        if not options.background_votes and background is not None and background < len(counts):
            counts[background] = 0
        if counts.sum() == 0:
            continue
        winner = int(counts.argmax())
        if counts[winner] >= options.min_purity * total:
            voted[masks[index] & known] = winner
    if options.protect:
        before = np.bincount(labels[known])
        after = np.bincount(voted[known], minlength=len(before))
        for label in np.flatnonzero(before).tolist():
            if label != background and 2 * after[label] < before[label]:
                voted[labels == label] = label
    if options.uncovered == "ignore":
        whole = masks if isinstance(masks, np.ndarray) else masks.whole()
        voted[~whole.any(axis=0)] = IGNORE
    return voted


def _counted(
    labels: LabelMap, masks: Masks | MaskStack, known: Mask
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield masks in falling order of size, and how often each label is in them."""
    if isinstance(masks, np.ndarray):
        sizes = np.array([np.count_nonzero(mask) for mask in masks])
        for index in np.argsort(-sizes, kind="stable").tolist():
            yield index, np.bincount(labels[masks[index] & known])
        return
    counts = masks.votes(labels)
    for index in np.argsort(-masks.areas(), kind="stable").tolist():
        yield index, counts[index]


def is_pure(mask: Mask, labels: LabelMap, options: GlobalRegionOptions) -> bool:
    """Tell whether one label has at least ``min_purity`` of the known pixels of an (H, W) mask."""
    counts = np.bincount(labels[mask & (labels != IGNORE)])
    return bool(counts.sum() and counts.max() >= options.min_purity * counts.sum())
