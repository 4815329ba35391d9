"""Masks of one object stored as 0 and the largest value of their type, where 255 is no "ignore"."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.io.codecs import LabelFile, LabelOptions
from uosam.io.stored import Stored, read_stored
from uosam.structures import LabelMap, Sample

_TOP = {"index8": 255, "palette": 255, "index16": 65535}
"""Codec to the value that is "ignore" in maps of classes and the object in binary masks."""


def settle_labels(
    options: LabelOptions, samples: Sequence[Sample]
) -> tuple[LabelOptions, list[str]]:
    """Read a set of binary masks as such, unless the options say what its values mean.

    Returns:
        The options for this set, and what its user must know.
    """
    masks = (sample.coarse for sample in samples if sample.coarse is not None)
    top = find_binary(masks) if options.ignore == "default" else None
    if top is None:
        return options, []
    note = (
        f"masks hold 0 and {top} alone: {top} is taken for an object, as in binary masks; where it "
        f"means ignore, say -s labels.ignore={top}"
    )
    return replace(options, ignore="none"), [note]


def find_binary(paths: Iterable[Path]) -> int | None:
    """Tell from a set of masks whether they are binary: 0, and 255 or 65535 for the object.

    Reading stops at the first mask that holds any other value, which maps of classes do at once.

    Returns:
        The value of the object; None if a mask contradicts, or none has the value.
    """
    found: int | None = None
    for path in paths:
        if path.suffix.lower() != ".png":
            return None
        try:
            stored = read_stored(path)
        except InputError:  # whoever reads it says why
            continue
        top = _TOP.get(stored.codec)
        if top is None or not _holds_two(stored, top):
            return None
        if (stored.array == top).any():
            found = max(found or 0, top)
    return found


def read_binary(path: Path) -> LabelMap | None:
    """Read a mask as 0 and 1 if it holds 0 and the largest value of its type alone, else None.

    Raises:
        InputError: the file cannot be read.
    """
    stored = read_stored(path)
    top = _TOP.get(stored.codec)
    if top is None or not _holds_two(stored, top):
        return None
    return np.asarray(stored.array == top, np.int32)


def check_ignore(path: Path, file: LabelFile, options: LabelOptions) -> None:
    """Refuse a mask of background and "ignore" alone unless the user said what the value means.

    Raises:
        InputError: both settings that settle it.
    """
    top = _TOP.get(file.spec.codec)
    if options.ignore != "default" or top is None:
        return
    zeros, tops = (file.stored == value for value in (0, top))
    # Of one value alone, 255 is what maps without any object hold.
    if not zeros.any() or not tops.any() or not (zeros | tops).all():
        return
    raise InputError(
        f"{path}: holds 0 and {top} alone, and other masks hold ids, so {top} may be an object or "
        f"mean ignore; say -s labels.ignore=none for an object, -s labels.ignore={top} for ignore"
    )


def holds_two(array: NDArray[Any], top: int) -> bool:
    """Tell whether an array holds 0 and ``top`` alone.

    >>> holds_two(np.array([0, 255, 0]), 255), holds_two(np.array([0, 1]), 255)
    (True, False)
    """
    return bool(((array == 0) | (array == top)).all())


def _holds_two(stored: Stored, top: int) -> bool:
    return stored.array.ndim == 2 and holds_two(stored.array, top)
