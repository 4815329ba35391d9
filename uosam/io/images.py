"""Pictures from disk as (H, W, 3) uint8 RGB, in the frame in which they are stored.

EXIF orientation is applied to nothing unless one asks for it. Masks are drawn in the stored frame
(PASS and most dataset tools read pictures that way), so turning the picture alone would shift every
label.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
from numpy.typing import NDArray

from uosam.errors import ConfigError, InputError, reason_of
from uosam.io.exif import Exif, orientation_of
from uosam.io.stores.mounts import at_hand
from uosam.structures import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".gif")
"""File name endings taken for pictures, in any case."""

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, RuntimeError),
    *(LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
)
"""What Pillow and NumPy raise on damaged files, besides errors of their own."""

MAX_PIXELS = 100_000_000
"""Pixels beyond which a picture is refused unless a setting says otherwise."""

MOST_PIXELS = 178_956_970
"""Pixels beyond which Pillow takes a picture for a bomb; no picture or mask may have more."""

_DARK = 16
"""Values below which a picture is almost black, as 12 bits in a file of 16 become."""


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """How pictures are read.

    Attributes:
        exif: what an EXIF orientation does, with which cameras say how a picture is to be turned.
            "ignore" takes picture and mask as they are stored, and names such pictures; "refuse"
            makes them an error; "apply-to-both" turns picture and mask upright and the result back;
            "apply-to-picture" turns the picture alone, for masks that were drawn on what a browser
            or an annotation tool showed.
        max_pixels: pixels beyond which a picture is refused, since memory grows with them; 178
            million at most.
    """

    exif: Exif = "ignore"
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        """Check words and ranges.

        Raises:
            ConfigError: ``exif`` is unknown or ``max_pixels`` out of range.
        """
        if self.exif not in get_args(Exif):
            raise ConfigError(
                f"io.exif must be {', '.join(get_args(Exif)[:-1])} or {get_args(Exif)[-1]}, "
                f"got {self.exif!r}"
            )
        if not 1 <= self.max_pixels <= MOST_PIXELS:
            raise ConfigError(f"io.max_pixels must be 1 to {MOST_PIXELS}, got {self.max_pixels}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """A picture as stored.

    Attributes:
        image: (H, W, 3) RGB.
        orientation: the EXIF tag, 1 for upright.
        notes: what somebody who uses it must know.
    """

    image: Image
    orientation: int = 1
    notes: tuple[str, ...] = ()


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture as (H, W, 3) RGB: grey, palette, RGBA, CMYK and 16-bit files included.

    Transparency is dropped, 16 bits are scaled to 8, of an animation the first frame is taken, and
    EXIF orientation is left alone.

    Raises:
        InputError: the file is missing, empty, damaged, truncated, beyond ``max_pixels``, or
            of a kind without a fixed range (32-bit integer or float).
    """
    return read_picture(path, max_pixels=max_pixels).image


def fetch_image(path: Path) -> Image:
    """Read a picture wherever it lies, and leave no copy here.

    Raises:
        InputError: as ``read_image``.
        OSError: its store fails again and again.
    """
    with at_hand(path):
        return read_image(path)


def read_head(path: Path) -> tuple[tuple[int, int], int] | None:
    """Return (H, W) and EXIF orientation as the head of a picture says.

    None of one that cannot be opened: whoever reads the pixels says why.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(path) as file:
                return (file.height, file.width), orientation_of(file)
    except (*UNREADABLE, PIL.Image.DecompressionBombError):
        return None


def read_picture(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture and what its file says beside the pixels; errors as of ``read_image``."""
    check_not_empty(path)
    try:
        with warnings.catch_warnings():
            # Large pictures are the user's own; beyond twice this limit Pillow raises.
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            # Such as: "Palette images with Transparency should be converted to RGBA".
            warnings.simplefilter("ignore", UserWarning)
            with PIL.Image.open(path) as file:
                if file.width * file.height > max_pixels:
                    raise InputError(
                        f"{path}: picture of {file.width} x {file.height} pixels is too large, at "
                        f"most {max_pixels} pixels are read; cut it into tiles, or allow more with "
                        "-s io.max_pixels=N"
                    )
                image = to_rgb(file, str(path))
                orientation = orientation_of(file)
        dark = image.size > 0 and 0 < int(image.max()) < _DARK
        notes = (f"picture is almost black, all values are below {_DARK} of 255; if it holds 10 or "
                 "12 bits in 16, scale it to 8 bits first",) if dark else ()  # fmt: skip
        return Picture(image=image, orientation=orientation, notes=notes)
    except InputError:
        raise
    except PIL.UnidentifiedImageError as error:
        kind = _describe_tiff(path)
        if kind is not None:
            raise InputError(
                f"{path}: a TIFF of {kind}, which is not read; convert it to RGB or grey of 8 or "
                "16 bits"
            ) from error
        raise InputError(
            f"{path}: not a picture in a known format; expected JPEG, PNG, TIFF, BMP, "
            "WebP, PPM or GIF"
        ) from error
    except PIL.Image.DecompressionBombError as error:
        raise InputError(f"{path}: picture too large ({error}); cut it into tiles") from error
    except UNREADABLE as error:
        raise InputError(
            f"{path}: picture is damaged or truncated ({reason_of(error)}); "
            "copy or download it again"
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
    except ValueError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
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
            f"{sizes}; they agree only after the EXIF rotation of {image}, which is not applied: "
            "store the picture rotated, draw the mask in the stored frame, or say "
            "-s io.exif=apply-to-picture"
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
            return orientation_of(file)
    except UNREADABLE:
        return 1


def _describe_tiff(path: Path) -> str | None:
    """Say what a TIFF holds that Pillow cannot open; None for other files.

    Tags: 258 bits per sample, 277 samples per pixel, 339 format (2 signed, 3 float).
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of damage, which ends here or is told
            head = file.read(8)
            if head[:4] not in (b"II*\0", b"MM\0*"):
                return None
            tags = PIL.TiffImagePlugin.ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
            bits, bands, kind = tags.get(258, (1,)), tags.get(277, 1), tags.get(339, (1,))
            first = bits[0] if isinstance(bits, tuple) else bits
            form = kind[0] if isinstance(kind, tuple) else kind
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
        return None
    number = {2: "signed integers", 3: "floats"}.get(form, "integers")
    return f"{bands} band{'' if bands == 1 else 's'} of {first}-bit {number}"
