"""Bringing pictures to the input of a network the way the published programs do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image as PilImage
from torch.nn import functional as F

from uosam.errors import InputError
from uosam.structures import Floats, Image

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

NEAREST = PilImage.Resampling.NEAREST
BILINEAR = PilImage.Resampling.BILINEAR


def check_picture(image: Image) -> None:
    """Refuse an array that is no picture.

    Raises:
        InputError: it is not (H, W, 3) uint8, or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"a picture must be (H, W, 3) uint8 RGB with at least one pixel, got {image.shape} "
            f"{image.dtype}; convert it first"
        )


def resize_short_side(image: Image, side: int, resample: PilImage.Resampling) -> Image:
    """Scale a picture so that its short side is ``side``; the long side is cut to an integer."""
    check_picture(image)
    height, width = image.shape[:2]
    short = min(height, width)
    size = (side, side * height // width) if width == short else (side * width // height, side)
    return np.asarray(PilImage.fromarray(image).resize(size, resample))


def normalise(image: Image, device: torch.device) -> torch.Tensor:
    """Return (1, 3, H, W) float32 pixels with the mean and deviation of ImageNet taken off."""
    pixels = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None].float() / 255
    mean, deviation = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (MEAN, DEVIATION)
    )
    return (pixels - mean) / deviation


def centre_start(length: int, side: int) -> int:
    """Return the first pixel of a centred stretch, rounded as torchvision's centre crop does."""
    return round((length - side) / 2)


def square_starts(length: int, side: int) -> list[int]:
    """Where squares along the long side begin: the centre first, then outwards to both ends.

    >>> square_starts(448, 320)
    [64, 0, 128]
    >>> square_starts(1000, 320)
    [340, 20, 0, 660, 680]
    """
    centre = centre_start(length, side)
    starts = [centre]
    start = centre
    while start > 0:
        start = max(0, start - side)
        starts.append(start)
    start = centre
    while start < length - side:
        start = min(length - side, start + side)
        starts.append(start)
    return starts


def score_by_squares(
    image: Image,
    score: Callable[[Image], Floats],
    *,
    resample: PilImage.Resampling,
    side: int = 320,
) -> Floats:
    """Score a whole picture with a network that was trained and published on centre squares.

    The centre square is scored as published and is never overwritten, so that an evaluation on
    the centre crop is that of the publication; squares further out fill what it leaves.

    Args:
        image: (H, W, 3) RGB.
        score: maps (side, side, 3) to (K, side, side).
        resample: filter that brings the short side to ``side``.
        side: of the square.

    Returns:
        (K, H, W), enlarged bilinearly.
    """
    resized = resize_short_side(image, side, resample)
    upright = resized.shape[0] > resized.shape[1]
    long = resized.transpose(1, 0, 2) if upright else resized
    length = long.shape[1]
    canvas: Floats | None = None
    filled = np.zeros(length, np.bool_)
    for start in square_starts(length, side):
        stretch = slice(start, start + side)
        square = long[:, stretch]
        scores = score(square.transpose(1, 0, 2) if upright else square)
        scores = scores.transpose(0, 2, 1) if upright else scores
        if canvas is None:
            canvas = np.zeros((len(scores), side, length), np.float32)
        fresh = ~filled[stretch]
        canvas[:, :, stretch][:, :, fresh] = scores[:, :, fresh]
        filled[stretch] = True
    assert canvas is not None
    whole = canvas.transpose(0, 2, 1) if upright else canvas
    return enlarge(torch.from_numpy(np.ascontiguousarray(whole))[None], image.shape[:2])


def enlarge(scores: torch.Tensor, hw: tuple[int, ...], mode: str = "bilinear") -> Floats:
    """Resize (1, K, h, w) scores to (K, H, W) without antialiasing."""
    options = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(scores, tuple(hw), mode=mode, **options)[0].cpu().numpy()
