"""Which of the masks of clicks answer a prompt.

Negative points, boxes and mask prompts were not trained; they choose among the masks of the
positive points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uosam.structures import Floats

MOST_ALIKE = 0.95
"""Of two masks whose IoU is above this, only the better one is an answer."""
_ANSWERS = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidates:
    """The masks of all clicks of one row.

    Attributes:
        value: (n,) how good each is; higher is better.
        level: (n,) level of granularity, 1 to 6.
        hits: (n,) how many negative points it holds.
        masks: (n, h * w) where it is, on any grid.
    """

    value: Floats
    level: NDArray[np.int8]
    hits: NDArray[np.int64]
    masks: NDArray[np.bool_]


def choose(found: Candidates, levels: Sequence[int] | None, amount: int = _ANSWERS) -> list[int]:
    """Pick the answers to one row.

    Masks that hold negative points go, unless all do: then those with the fewest stay.

    Args:
        found: at least one candidate.
        levels: asked for, in rising order: the best of each is an answer, or none if all of it
            went. None for the best ``amount`` that differ.
        amount: answers at most, where no level is asked for.

    Returns:
        Indices in the order of ``levels``, or best first; ties go to the lower level.
    """
    left = np.flatnonzero(found.hits == found.hits.min())
    order = left[np.lexsort((found.level[left], -found.value[left]))]
    if levels is not None:
        best = [order[found.level[order] == level][:1] for level in levels]
        return [int(index) for one in best for index in one]
    chosen: list[int] = []
    for index in order.tolist():
        if len(chosen) == amount:
            break
        mask = found.masks[index]
        if all(_iou(mask, found.masks[other]) <= MOST_ALIKE for other in chosen):
            chosen.append(index)
    return chosen


def _iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    either = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / either if either else 1.0


def box_likeness(masks: NDArray[np.bool_], box: Sequence[float]) -> Floats:
    """Compare the bounding box of each mask with a box.

    Args:
        masks: (n, h, w).
        box: left, top, right, bottom edges in cells, the last ones exclusive.

    Returns:
        (n,) IoU; 0 for an empty mask.
    """
    left, top, right, bottom = box
    likeness = np.zeros(len(masks), np.float32)
    for index, mask in enumerate(masks):
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        x0, y0, x1, y1 = cols[0], rows[0], cols[-1] + 1, rows[-1] + 1
        wide = max(0.0, min(x1, right) - max(x0, left))
        high = max(0.0, min(y1, bottom) - max(y0, top))
        both = (x1 - x0) * (y1 - y0) + (right - left) * (bottom - top) - wide * high
        likeness[index] = wide * high / both
    return likeness


def mask_likeness(masks: NDArray[np.bool_], asked: NDArray[np.bool_]) -> Floats:
    """Return the IoU of each of (n, h, w) masks with an (h, w) mask; (n,)."""
    shared = (masks & asked).sum(axis=(1, 2))
    either = (masks | asked).sum(axis=(1, 2))
    return np.asarray(shared / np.maximum(either, 1), np.float32)
