"""How a region is shown to a model that compares pictures with words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from uosam.errors import ConfigError
from uosam.regions.crops import Region, crop_view, masked_view, whole_mask
from uosam.structures import Floats, Image, ImageText, PoolingImageText

View = Literal["crop", "masked", "both", "pooled", "all"]
"""Its box; its box with the rest filled; both; its cells of the feature map; all three."""

_CROP = ("crop", "both", "all")
_MASKED = ("masked", "both", "all")
_POOLED = ("pooled", "all")


def best_view(model: ImageText) -> View:
    """Return the view that names best with a model: all it can take."""
    return "all" if isinstance(model, PoolingImageText) else "both"


def embed_regions(model: ImageText, image: Image, regions: Sequence[Region], view: View) -> Floats:
    """Embed the regions of one picture, the mean over the views.

    Args:
        model: what compares pictures with words.
        image: (H, W, 3) RGB.
        regions: of this picture.
        view: how they are shown.

    Returns:
        (N, D); of length 1 each, unless the model's words are exclusive.

    Raises:
        ConfigError: the model cannot pool its features.
    """
    parts = []
    if view in _CROP:
        parts.append(model.embed_images([crop_view(image, r, model.colour) for r in regions]))
    if view in _MASKED:
        parts.append(model.embed_images([masked_view(image, r, model.colour) for r in regions]))
    if view in _POOLED:
        if not isinstance(model, PoolingImageText):
            raise ConfigError(
                f"view {view!r} needs a model that pools features, such as imagenet, got "
                f"{type(model).__name__}; take --view both"
            )
        hw = (image.shape[0], image.shape[1])
        masks = np.stack([whole_mask(region, hw) for region in regions])
        parts.append(model.embed_regions(image, masks))
    mean = np.mean(parts, axis=0)
    if model.exclusive:
        return np.asarray(mean, np.float32)
    lengths = np.linalg.norm(mean, axis=1, keepdims=True)
    return np.asarray(mean / np.maximum(lengths, 1e-12), np.float32)
