"""Pictures in whatever form a person holds them, as (H, W, 3) uint8 RGB."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.io.images import from_16_bits, read_image, repeat_grey, to_rgb
from uosam.structures import Image

if TYPE_CHECKING:
    import torch

    ImageLike = str | os.PathLike[str] | PIL.Image.Image | NDArray[Any] | torch.Tensor
    MaskLike = ImageLike

CHANNELS = (1, 3, 4)
"""Grey, RGB and RGBA; the fourth is dropped."""


def to_image(image: ImageLike) -> Image:
    """Return a picture as (H, W, 3) uint8 RGB.

    Args:
        image: path; Pillow picture of any mode; array or torch tensor, (H, W) grey, (H, W, C) or
            (C, H, W) of 1, 3 or 4 channels in the order RGB, uint8, uint16, bool, floats in [0, 1]
            or other integers 0..255. Transparency is dropped, EXIF orientation is left alone.

    Raises:
        InputError: it is none of these, or a file that cannot be read.

    >>> to_image(np.full((2, 5), 0.5, np.float32))[0, 0].tolist()
    [128, 128, 128]
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(Path(image))
    if isinstance(image, PIL.Image.Image):
        return to_rgb(image, "image")
    array = _channels_last(to_array(image, "image"))
    grey_or_rgb = _to_bytes(array)
    if grey_or_rgb.shape[2] == 1:
        return repeat_grey(grey_or_rgb[..., 0])
    return np.ascontiguousarray(grey_or_rgb[..., :3])


def to_array(value: Any, name: str) -> NDArray[Any]:
    """Return an array, torch tensor or what else converts itself as a NumPy array of numbers.

    Args:
        value: whatever a person gave.
        name: what messages call it.

    Raises:
        InputError: it is no array of numbers.
    """
    if hasattr(value, "detach"):  # a torch tensor, on any device and with or without gradient
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # which NumPy does not know
            value = value.float()
        value = value.numpy()
    if not hasattr(value, "__array__"):
        raise InputError(
            f"{name}: expected a path, a Pillow picture, a NumPy array or a torch tensor, got "
            f"{type(value).__name__}"
        )
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or not array.size:
        raise InputError(
            f"{name}: expected an array of numbers, got shape {array.shape} and dtype {array.dtype}"
        )
    return array


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W, C); where both ends could be channels, the last is taken."""
    if array.ndim == 2:
        return array[..., None]
    if array.ndim == 4 and len(array) == 1:
        raise InputError(
            f"image: expected one picture, got a batch {array.shape}; give image[0], "
            "or use Refiner.many for several"
        )
    if array.ndim == 3:
        if array.shape[2] in CHANNELS:
            return array
        if array.shape[0] in CHANNELS:
            return np.moveaxis(array, 0, 2)
    raise InputError(
        f"image: expected (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels, got {array.shape}"
    )


def _to_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale the values to 0..255; whether they can be meant so is checked, not guessed."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return from_16_bits(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f":
        # Resizing overshoots a little; normalised pictures and 0..255 do not look like that.
        if not (low >= -0.01 and high <= 1.01):
            raise InputError(
                f"image: floats must be in [0, 1], got {low:g} to {high:g}; undo a normalisation, "
                "or give 0..255 as uint8"
            )
        return np.asarray((np.clip(array, 0, 1) * 255).round(), np.uint8)
    if not (low >= 0 and high <= 255):
        raise InputError(
            f"image: {array.dtype} must be in 0..255, got {low:g} to {high:g}; "
            "give 16 bits as uint16"
        )
    return array.astype(np.uint8)
