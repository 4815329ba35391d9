"""The EXIF orientation of pictures: which it is, and arrays turned as it says."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import PIL.Image
from numpy.typing import NDArray

Exif = Literal["ignore", "refuse", "apply-to-both", "apply-to-picture"]
"""What is done about an orientation, as ``PictureOptions`` explains."""

ORIENTATION = 0x0112
"""The EXIF tag; 5 to 8 swap height and width."""

_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
"""Orientation to whether axes change places, and then which of them are reversed."""


def orientation_of(file: PIL.Image.Image) -> int:
    """Return the orientation of an opened picture; 1 if it has none that means anything."""
    try:
        found = file.getexif().get(ORIENTATION, 1)
    except Exception:  # of Pillow's readers of metadata, each with an error of its own
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def turn(array: NDArray[Any], orientation: int, *, back: bool = False) -> NDArray[Any]:
    """Turn an array (H, W, ...) upright as its EXIF orientation says, or back as it was stored.

    >>> turn(np.array([[1, 2], [3, 4]]), 6).tolist()
    [[3, 1], [4, 2]]
    >>> turn(np.array([[3, 1], [4, 2]]), 6, back=True).tolist()
    [[1, 2], [3, 4]]
    """
    swaps, flips_rows, flips_columns = _TURNS[orientation]
    if back:
        array = array[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1]
        return np.ascontiguousarray(array.swapaxes(0, 1) if swaps else array)
    array = array.swapaxes(0, 1) if swaps else array
    return np.ascontiguousarray(array[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1])
