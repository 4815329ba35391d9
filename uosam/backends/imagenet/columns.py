"""Feature maps of several strides side by side: a column of numbers for every cell of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from uosam.backends.imagenet.network import View, fit_long_side
from uosam.backends.imagenet.network import load as load_classifier
from uosam.structures import Floats, Image

COLUMN_STRIDES = (16, 32)
"""Finer maps tell edges and textures apart, and k-means then sorts pictures by those."""


def stack(view: View, strides: Sequence[int]) -> Floats:
    """Return (C, h, w) at the finest stride: each map enlarged bilinearly, its columns of length 1.

    Args:
        view: with these strides among its levels.
        strides: any of 4, 8, 16, 32; each counts alike whatever its channels.
    """
    hw = view.levels[min(strides)].shape[1:]
    parts = []
    for stride in strides:
        level = torch.from_numpy(view.levels[stride])[None]
        enlarged = F.interpolate(level, hw, mode="bilinear", align_corners=False)[0]
        parts.append(F.normalize(enlarged, dim=0) / len(strides) ** 0.5)
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def load(
    path: str | Path | None = None,
    *,
    side: int = 384,
    strides: Sequence[int] = COLUMN_STRIDES,
    device: str = "auto",
) -> Callable[[Image], Floats]:
    """Return a function from (H, W, 3) RGB to columns (C, h, w) of length 1.

    Args:
        path: weights of EfficientNet-Lite0; None takes those of the extra ``imagenet``.
        side: long side at which a picture is seen.
        strides: of the maps, any of 4, 8, 16, 32.
        device: "auto" or a torch device.

    Raises:
        BackendError: the packages are missing, or the weights are not those of the model.
    """
    classifier = load_classifier(path, device=device)

    def describe(image: Image) -> Floats:
        (view,) = classifier.look([fit_long_side(image, side)], strides=strides)
        return stack(view, strides)

    return describe
