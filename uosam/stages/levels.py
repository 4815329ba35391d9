"""The dial of granularity: which levels, from whole to part, a stage asks the segmenter for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from uosam.errors import ConfigError
from uosam.structures import LEVELS, Prompts


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
