"""The flags ``--level`` and ``--granularity``, as settings of the stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

Level = Annotated[
    str | None,
    typer.Option(
        metavar="N[,N...]",
        help="1 whole ... 6 smallest part; models with levels: see 'uosam models'. Short for "
        "-s local_region.levels=[N] -s global_region.levels=[N].",
    ),
]
Granularity = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Level as a number above 0 and up to 1, the whole; the nearest level is taken. Short "
        "for -s local_region.levels=[N] -s global_region.levels=[N].",
    ),
]


def level_settings(
    level: str | None,
    granularity: float | None,
    config: str | None,
    settings: Sequence[str],
    *,
    keys: Sequence[str] = ("local_region.levels", "global_region.levels"),
) -> list[str]:
    """Say the two flags as ``section.key=value``.

    Args:
        level: whole numbers with commas between them, or None.
        granularity: above 0, at most 1, or None.
        config: YAML file or name, which may name the model.
        settings: other overrides, which may as well.
        keys: the settings that they are short for.

    Raises:
        ConfigError: both are given, or one of them is nothing of the kind.
    """
    from uosam.backends.models import MODELS
    from uosam.config import read_changes
    from uosam.errors import ConfigError
    from uosam.stages.levels import granularity_level
    from uosam.structures import LEVELS

    if level is not None and granularity is not None:
        raise ConfigError("expected --level or --granularity, got both; leave one out")
    if granularity is not None:
        named = read_changes(config, settings).get("backend", {}).get("name")
        model = MODELS.get(str(named or "tiny"))
        level = str(granularity_level(granularity, (model.levels if model else 0) or LEVELS))
    return [] if level is None else [f"{key}=[{level}]" for key in keys]
