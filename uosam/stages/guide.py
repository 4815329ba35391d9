"""A guide for the search of proposals, such as rendered depth, and whether it suits the options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uosam.errors import ConfigError, InputError
from uosam.structures import Guide

if TYPE_CHECKING:
    from uosam.stages.global_region import GlobalRegionOptions


def check_guide(
    guide: Guide | None, image_hw: tuple[int, int], options: GlobalRegionOptions
) -> None:
    """Refuse a guide that nobody would look at, and options that miss one.

    Raises:
        InputError: the guide is of another size than the picture.
        ConfigError: which option does not go with the guide, or with its absence.
    """
    if guide is None:
        if options.picture in ("guide", "both") and options.grid:
            raise ConfigError(
                f"global_region.picture={options.picture} needs a guide, got none; give one "
                "(--depth DIR), or take global_region.picture=photo"
            )
        return
    if options.grid == 0:
        raise ConfigError(
            "a guide is for the global stage alone, which global_region.grid=0 leaves out; "
            "set global_region.grid=16 or leave out the guide"
        )
    if guide.image.shape != (*image_hw, 3) or guide.image.dtype != np.uint8:
        raise InputError(
            f"a guide must be ({image_hw[0]}, {image_hw[1]}, 3) uint8 like its picture, got "
            f"{guide.image.shape} {guide.image.dtype}"
        )
    if guide.holes is not None and guide.holes.shape != image_hw:
        raise InputError(
            f"the holes of a guide must be {image_hw} like its picture, got {guide.holes.shape}"
        )
