"""Pictures and clicks as the network takes them, and masks back at the size of the picture."""

from __future__ import annotations

import cv2
import numpy as np
import PIL.Image
import torch
from torch.nn import functional as F

from uosam.backends.semantic_sam.clicks import CLICK_SIZE
from uosam.structures import Floats, Image

LONGEST = 1333
"""Pixels of the long side at most, as in the published evaluation."""
SHORTEST = 32
"""Pixels of either side at least; a thinner picture is stretched."""
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
_MULTIPLE = 32


def input_hw(image_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the size at which a picture enters the network.

    Args:
        image_hw: size of the picture.
        side: pixels of the short side, if the long one stays within ``LONGEST``.

    >>> input_hw((200, 301), 640), input_hw((500, 4000), 640), input_hw((3, 4000), 640)
    ((640, 963), (166, 1333), (32, 1333))
    """
    short, long = min(image_hw), max(image_hw)
    new_short, new_long = side, int(side * long / short)
    if new_long > LONGEST:
        new_short, new_long = int(LONGEST * new_short / new_long), LONGEST
    new_short = max(SHORTEST, new_short)
    return (new_short, new_long) if image_hw[0] <= image_hw[1] else (new_long, new_short)


def padded_hw(hw: tuple[int, int]) -> tuple[int, int]:
    """Return a size rounded up to multiples of 32."""
    height, width = hw
    return height + -height % _MULTIPLE, width + -width % _MULTIPLE


def prepare(image: Image, hw: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Resize a picture with Pillow's bicubic filter, normalise it, and then pad it with zeros.

    Args:
        image: (H, W, 3) uint8 RGB.
        hw: size from ``input_hw``.
        device: of the result.

    Returns:
        (1, 3, Hp, Wp), sides multiples of 32.
    """
    resized = np.asarray(PIL.Image.fromarray(image).resize(hw[::-1], PIL.Image.Resampling.BICUBIC))
    pixels = torch.tensor(resized, device=device).permute(2, 0, 1).float()
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (_MEAN, _STD))
    height, width = padded_hw(hw)
    padding = (0, width - hw[1], 0, height - hw[0])
    return F.pad((pixels - mean) / std, padding)[None]


def click_boxes(shares: Floats, hw: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Turn clicks into the boxes that stand for them.

    Args:
        shares: (B, 2) x, y as shares of the picture.
        hw: size of the picture in the network, without padding.
        device: of the result.

    Returns:
        (B, 4) centre and size as shares of the padded picture.
    """
    height, width = padded_hw(hw)
    scale = torch.tensor([hw[1] / width, hw[0] / height], device=device)
    centres = torch.as_tensor(shares, dtype=torch.float32, device=device) * scale
    return torch.cat([centres, (scale * CLICK_SIZE).expand(len(centres), 2)], 1)


def enlarge(logits: torch.Tensor, hw: tuple[int, int], image_hw: tuple[int, int]) -> torch.Tensor:
    """Bring masks to the size of the picture in one step.

    Args:
        logits: (k, 1, Hp / 4, Wp / 4).
        hw: size of the picture in the network, without padding.
        image_hw: size of the picture.

    Returns:
        (k, 1, H, W) logits.
    """
    factors = tuple(4 * own / entered for own, entered in zip(image_hw, hw, strict=True))
    rows, cols = image_hw
    if logits.device.type != "cpu":
        whole = F.interpolate(
            # A hair more, so that the floor of the product is not a pixel short.
            F.pad(logits, (0, 1, 0, 1), mode="replicate"),
            scale_factor=factors,
            mode="bilinear",
            recompute_scale_factor=False,
        )
        return whole[..., :rows, :cols]
    # OpenCV interpolates the same way, in a tenth of the time.
    large = np.empty((len(logits), 1, *image_hw), np.float32)
    for grid, out in zip(logits[:, 0].numpy(), large[:, 0], strict=True):
        padded = cv2.copyMakeBorder(grid, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
        out[:] = cv2.resize(padded, None, fx=factors[1], fy=factors[0])[:rows, :cols]
    return torch.from_numpy(large)
