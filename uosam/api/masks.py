"""Masks in whatever form a person holds them, as ids with what is needed to give them back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from uosam.api.pictures import to_array
from uosam.errors import InputError
from uosam.io.codecs import Choice, LabelFile, decode_stored
from uosam.io.stored import Stored, is_soft, read_stored, store_ids
from uosam.structures import LabelMap

if TYPE_CHECKING:
    from uosam.api.pictures import MaskLike

_MODES = {"1": "index8", "L": "index8", "P": "palette", "RGB": "luss"}
_WIDE = ("I", "I;16", "I;16B", "I;16L")


def to_labels(
    mask: MaskLike,
    *,
    background: Choice = "default",
    ignore: Choice = "default",
    codec: str | None = None,
) -> LabelFile:
    """Return a mask as (H, W) ids and what is needed to give them back as they came.

    A map of 0 and 255 alone is a binary mask, and 255 an object, unless ``ignore`` says otherwise.

    Args:
        mask: path of a PNG, ``.npy`` or ``.npz``; Pillow picture; array or torch tensor: integer or
            bool ids (H, W), with one axis of length 1 more if need be, LUSS (H, W, 3) uint8, float
            scores (C, H, W) of C >= 2 classes, or one soft mask (H, W) of floats in [0, 1].
        background: id that is no object, None where every id is a class; 0 by default.
        ignore: stored value that means "unknown", None for none; by default 255 in uint8, 65535 in
            uint16, 1000 in LUSS, and negative values.
        codec: key of ``CODECS`` that the mask must fit; None or "auto" takes it as it is.

    Raises:
        InputError: it is none of these.

    >>> to_labels(np.array([[0, 255]], np.uint8)).labels.tolist()
    [[0, 255]]
    """
    if isinstance(mask, (str, os.PathLike)):
        name, stored = str(mask), read_stored(Path(mask))
    else:
        name = "mask"
        stored = _from_pillow(mask) if isinstance(mask, PIL.Image.Image) else _from_array(mask)
    if ignore == "default" and stored.codec in ("index8", "palette") and is_binary(stored.array):
        ignore = None
    if stored.codec == "npy" and stored.array.dtype.kind == "f":
        _check_whole(name, stored.array)
    return decode_stored(name, stored, codec, background=background, ignore=ignore)


def to_stored(labels: LabelMap, file: LabelFile) -> NDArray[Any]:
    """Return refined ids in the dtype and with the values of the mask that came in.

    Args:
        labels: (H, W) ids, IGNORE where unknown.
        file: the mask that came in.

    Returns:
        (H, W), or (H, W, 3) for LUSS with id = R + 256 G; int32 ids for class scores, whose ids are
        channels.
    """
    if file.spec.codec == "scores":
        return labels
    return store_ids(labels, file.spec)


def is_binary(array: NDArray[Any]) -> bool:
    """Tell whether an array holds 255 and nothing else but 0.

    >>> is_binary(np.array([[0, 255]])), is_binary(np.array([[0, 1, 255]]))
    (True, False)
    """
    top = array == 255
    return bool(top.any() and not array[~top].any())


def _from_pillow(mask: PIL.Image.Image) -> Stored:
    if mask.mode == "F":
        return _from_array(np.asarray(mask))
    if mask.mode in _WIDE:
        array = np.asarray(mask)
        # Pillow opens 16-bit PNG as either mode.
        if array.min() >= 0 and array.max() <= 65535:
            return Stored(array=array.astype(np.uint16), codec="index16")
        return Stored(array=array.astype(np.int32), codec="npy")
    codec = _MODES.get(mask.mode)
    if codec is None:
        raise InputError(
            f"mask: a Pillow mask must be of mode 1, L, P, I, F or RGB (LUSS), got {mask.mode}; "
            "convert('L') keeps the ids of a grey one"
        )
    palette = bytes(mask.getpalette("RGB") or ()) if codec == "palette" else None
    return Stored(array=np.array(mask), codec=codec, palette=palette)


def _from_array(mask: Any) -> Stored:
    array = to_array(mask, "mask")
    if array.ndim == 3 and array.dtype == np.uint8 and array.shape[2] == 3:
        return Stored(array=array, codec="luss")
    if array.ndim == 3 and 1 in array.shape:
        array = array.squeeze(array.shape.index(1))
    if is_soft(array):
        return Stored(array=array, codec="soft")
    if array.ndim == 3 and array.dtype.kind == "f":
        return Stored(array=array, codec="scores")
    if array.ndim != 2:
        stack = array.ndim == 3 and array.dtype.kind in "biu"
        remedy = "; number the masks of a stack as ids of one map" if stack else ""
        raise InputError(
            "mask: expected ids (H, W), float scores (C, H, W) or a soft mask (H, W), got "
            f"{array.shape} {array.dtype}{remedy}"
        )
    codec = {"uint8": "index8", "uint16": "index16"}.get(array.dtype.name, "npy")
    return Stored(array=array, codec=codec)


def _check_whole(name: str, array: NDArray[Any]) -> None:
    """Refuse floats that are neither ids nor one soft mask.

    Raises:
        InputError: there are fractions, outside of [0, 1] or beside values outside of it.
    """
    if not (np.isfinite(array).all() and (array == np.round(array)).all()):
        raise InputError(
            f"{name}: floats (H, W) must be whole ids or one soft mask in [0, 1], got "
            f"{array.min():g} to {array.max():g}; apply a sigmoid to logits"
        )
