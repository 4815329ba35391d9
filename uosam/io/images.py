"""Pictures from disk as (H, W, 3) uint8 RGB, in the frame in which they are stored.

EXIF orientation is applied to nothing. Masks are drawn in the stored frame (PASS and most dataset
tools read pictures that way), so turning the picture alone would shift every label.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.structures import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".gif")
"""File name endings taken for pictures, in any case."""

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""What Pillow raises on damaged files, besides its own decompression bomb error."""

_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap height and width


def read_image(path: Path) -> Image:
    """Read a picture as (H, W, 3) RGB: grey, palette, RGBA, CMYK and 16-bit files included.

    Transparency is dropped, 16 bits are scaled to 8, of an animation the first frame is taken, and
    EXIF orientation is left alone.

    Raises:
        InputError: the file is missing, empty, damaged, truncated, beyond 178 million pixels, or
            of a kind without a fixed range (32-bit integer or float).
    """
    check_not_empty(path)
    try:
        with warnings.catch_warnings():
            # Large pictures are the user's own; beyond twice this limit Pillow raises.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            # Such as: "Palette images with Transparency should be converted to RGBA".
            warnings.simplefilter("ignore", UserWarning)
            with PIL.Image.open(path) as file:
                return to_rgb(file, str(path))
    except InputError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise InputError(
            f"{path}: not a picture in a known format; expected JPEG, PNG, TIFF, BMP, "
            "WebP, PPM or GIF"
        ) from error
    except PIL.Image.DecompressionBombError as error:
        raise InputError(f"{path}: picture too large ({error}); cut it into tiles") from error
    except UNREADABLE as error:
        raise InputError(
            f"{path}: picture is damaged or truncated ({error}); copy or download it again"
        ) from error


def check_not_empty(path: Path) -> None:
    """Refuse a file that is missing, unreadable or has no bytes.

    Raises:
        InputError: one line that tells which of these it is.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if path.is_dir():
        raise InputError(f"{path}: expected a file, got a folder")
    if size == 0:
        raise InputError(f"{path}: file is empty (0 bytes); copy or download it again")


def check_same_size(
    image: Path, image_hw: tuple[int, int], mask: Path, mask_hw: tuple[int, int]
) -> None:
    """Refuse a mask that is not of the size of its picture.

    Args:
        image: path of the picture, for the message and its EXIF orientation.
        image_hw: stored size of the picture.
        mask: path of the mask, for the message.
        mask_hw: size of the mask.

    Raises:
        InputError: both sizes, and whether they would agree after the EXIF rotation.
    """
    if image_hw == mask_hw:
        return
    sizes = (
        f"{mask}: mask must have the size of its picture {image_hw[0]} x {image_hw[1]} (H x W), "
        f"got {mask_hw[0]} x {mask_hw[1]}"
    )
    if image_hw[::-1] == mask_hw and _orientation(image) in (5, 6, 7, 8):
        raise InputError(
            f"{sizes}; they agree only after the EXIF rotation of {image}, which is never applied: "
            "store the picture rotated, or draw the mask in the stored frame"
        )
    raise InputError(f"{sizes}; resize the mask with nearest neighbour first")


def to_rgb(file: PIL.Image.Image, path: str) -> Image:
    """Convert an opened picture of any mode to (H, W, 3) RGB.

    Args:
        file: the picture.
        path: what messages call it.

    Raises:
        InputError: it is of a kind without a fixed range.
    """
    if file.mode.startswith("I"):
        if file.mode == "I" and file.format != "PNG":
            raise InputError(
                f"{path}: expected 8 or 16 bits per channel, got 32-bit integers; "
                "scale the picture to 8 bits first"
            )
        return repeat_grey(from_16_bits(np.asarray(file)))
    if file.mode == "F":
        raise InputError(
            f"{path}: expected 8 or 16 bits per channel, got floats; scale to 8 bits first"
        )
    return np.array(file.convert("RGB"), np.uint8)


def from_16_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale 0..65535 to 0..255.

    >>> from_16_bits(np.array([0, 257, 65535])).tolist()
    [0, 1, 255]
    """
    # 257 = 65535 / 255, so that black and white stay black and white.
    return ((values.astype(np.int64) + 128) // 257).astype(np.uint8)


def repeat_grey(grey: NDArray[np.uint8]) -> Image:
    """Make (H, W) grey the three equal channels of (H, W, 3)."""
    return np.repeat(grey[..., None], 3, axis=2)


def _orientation(path: Path) -> int:
    try:
        with PIL.Image.open(path) as file:
            return int(file.getexif().get(_ORIENTATION, 1))
    except UNREADABLE:
        return 1
