"""Checksums of PNG masks, and the plain kinds decoded by OpenCV, which is quicker than Pillow."""

from __future__ import annotations

import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""How every PNG begins."""

HEADER_END = len(SIGNATURE) + 25
"""Bytes up to the end of the first chunk, which tells size and kind."""

_ENDS = b"IEND"
_PLAIN = (b"IHDR", b"IDAT", b"tEXt", b"tIME", b"pHYs", _ENDS)
"""Chunks beside which OpenCV and Pillow give the same pixels, without a word."""
_KINDS = {(8, 0), (16, 0), (8, 2)}
"""Bits and kind of colour: grey of 8 and 16 bits, RGB of 8."""


def check_sums(data: bytes) -> bool:
    """Hold the checksum of every chunk against its content.

    Pillow passes over the sums of pixels, and wrong ids look like any others.

    Args:
        data: all bytes of a file that begins with SIGNATURE.

    Returns:
        Whether all chunks are of the commonest kinds and the last ends the file. A file that ends
        within a chunk is none of these, and it is the decoder that says what is missing.

    Raises:
        ValueError: a sum is wrong.
    """
    at, view, common = len(SIGNATURE), memoryview(data), True
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(view[at : at + 4], "big")
        if end + 4 > len(data):
            return False
        kind = bytes(view[at + 4 : at + 8])
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise ValueError("a checksum is wrong")
        common = common and kind in _PLAIN
        at = end + 4
        if kind == _ENDS:
            return common and at == len(data)
    return False


def decode_plain(data: bytes) -> NDArray[Any] | None:
    """Return the pixels of a grey or RGB PNG as stored.

    Args:
        data: all bytes of a file of which ``check_sums`` says that it is whole and common, so that
            no library has to say of a damaged one what it thinks.

    Returns:
        (H, W) uint8 or uint16, or (H, W, 3) uint8; None of any other file, which Pillow may read.
    """
    if not _is_plain(data[16:29]):
        return None
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:  # damage inside the packed data
        return None
    return cv2.cvtColor(array, cv2.COLOR_BGR2RGB) if array.ndim == 3 else array


def join_channels(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return R + 256 G + 65536 B of every pixel.

    Args:
        rgb: (H, W, 3).

    Returns:
        (H, W), a new array.

    >>> join_channels(np.array([[[7, 1, 0], [0, 0, 2]]], np.uint8)).tolist()
    [[263, 131072]]
    """
    if not rgb.size:
        return np.zeros(rgb.shape[:2], np.int32)
    # Four bytes a pixel are one number; the fourth is taken off.
    wide = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2RGBA).view("<u4")[..., 0]
    joined: NDArray[np.int32] = np.bitwise_and(wide, 0xFFFFFF).astype(np.int32)
    return joined


def _is_plain(header: bytes) -> bool:
    """Tell from size, bits, kind, compression, filter and interlacing whether OpenCV is asked."""
    return len(header) == 13 and tuple(header[8:10]) in _KINDS and not any(header[10:])
