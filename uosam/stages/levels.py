"""The dial of granularity: which levels, from whole to part, a stage asks the segmenter for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from uosam.errors import ConfigError
from uosam.labels import iou
from uosam.structures import LEVELS, Mask, Prompts

OBJECTS = 3
"""Up to this level a mask is an object or several; what comes after are parts."""


def check_levels(levels: tuple[int, ...], where: str) -> None:
    """Refuse what are no levels of granularity.

    Args:
        levels: () lets the backend choose.
        where: name of the setting, for the message.

    Raises:
        ConfigError: a level is below 1 or above ``LEVELS``, or they do not rise.
    """
    if any(not 1 <= level <= LEVELS for level in levels) or list(levels) != sorted(set(levels)):
        raise ConfigError(
            f"{where} must be whole numbers from 1 (whole) to {LEVELS} (smallest part), rising and "
            f"without repeats, got {list(levels)}"
        )


def ask_levels(prompts: Prompts, levels: tuple[int, ...]) -> Prompts:
    """Ask every row for the same levels; () leaves the choice to the backend."""
    if not levels:
        return prompts
    rows = np.tile(np.array(levels, np.int8), (len(prompts), 1))
    return replace(prompts, levels=rows)


def granularity_level(granularity: float, count: int) -> int:
    """Return the level that a share of the whole means to a model with so many levels.

    Args:
        granularity: above 0, 1 for the whole.
        count: of levels, at least 1.

    Raises:
        ConfigError: ``granularity`` is not in (0, 1].

    >>> [granularity_level(share, 6) for share in (1, 0.6, 0.4, 0.01)]
    [1, 3, 4, 6]
    """
    if not 0 < granularity <= 1:
        raise ConfigError(
            f"granularity must be above 0 and at most 1 (the whole), got {granularity}"
        )
    return 1 + round((1 - granularity) * (count - 1))


def consent(levels: Sequence[int], masks: Sequence[Mask]) -> float:
    """Return how far the levels of one click agree on what is meant: their mean pairwise IoU.

    Parts (levels above ``OBJECTS``) have no say, since they are smaller by intent.

    Args:
        levels: of the masks.
        masks: (h, w) each, at any one resolution.

    Returns:
        in [0, 1]; 1 where fewer than two have a say.

    >>> whole, part = np.ones((2, 2), bool), np.eye(2, dtype=bool)
    >>> consent([1, 2, 6], [whole, part, part]), consent([1, 5], [whole, part])
    (0.5, 1.0)
    """
    heard = [mask for level, mask in zip(levels, masks, strict=True) if level <= OBJECTS]
    pairs = [iou(one, other) for one, other in combinations(heard, 2)]
    return float(np.mean(pairs)) if pairs else 1.0


def may_be_part(levels: Sequence[int], masks: Sequence[Mask], region: Mask) -> bool:
    """Tell whether a region is so small beside the object under its click that it is a part of it.

    Args:
        levels: of the masks.
        masks: (H, W) each.
        region: (H, W) that was asked about.

    Returns:
        whether the region is smaller than half of the mask of level ``OBJECTS``; True where there
        is none to compare with.
    """
    for level, mask in zip(levels, masks, strict=True):
        if level == OBJECTS:
            return bool(2 * np.count_nonzero(region) < np.count_nonzero(mask))
    return True
