"""PNG and TIFF of ids for formats that keep masks as pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from uosam.errors import InputError, reason_of


def encode_ids(ids: NDArray[np.uint8 | np.uint16], palette: bytes | None = None) -> bytes:
    """Return a PNG of 8-bit ids, with a palette of RGB bytes if given, or a TIFF of 16-bit ids."""
    picture = PIL.Image.fromarray(ids)
    if palette is not None:
        picture.putpalette(palette)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG" if ids.dtype == np.uint8 else "TIFF")
    return buffer.getvalue()


def read_ids(path: Path) -> NDArray[np.int64]:
    """Read the (H, W) ids of such a file.

    Raises:
        InputError: the file is damaged, or has colour channels.
    """
    try:
        with PIL.Image.open(path) as file:
            array = np.array(file)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise InputError(f"{path}: mask is damaged or no picture ({reason_of(error)})") from error
    if array.ndim != 2:
        raise InputError(f"{path}: expected one channel of ids, got {array.shape}")
    return array.astype(np.int64)


def voc_palette() -> bytes:
    """Return the 256 colours of PASCAL VOC: bits of the id, dealt to red, green and blue.

    >>> list(voc_palette()[:9])
    [0, 0, 0, 128, 0, 0, 0, 128, 0]
    """
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((ids >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()
