"""Class scores behind a label map: as probabilities for the method, and back with a new argmax."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.io.stored import read_stored
from uosam.io.stores.mounts import is_there
from uosam.structures import Floats, LabelMap


def find_scores(folder: Path, name: str) -> Path:
    """Return the file of class scores that belongs to a mask: ``.npy``, else ``.npz``.

    Args:
        folder: of all scores.
        name: relative path of the mask without suffix.

    Raises:
        InputError: neither is there.
    """
    for form in dict.fromkeys([name, *(unicodedata.normalize(f, name) for f in ("NFC", "NFD"))]):
        for suffix in (".npy", ".npz"):
            path = folder / (form + suffix)
            if is_there(path):
                return path
    raise InputError(
        f"{folder / name}: expected class scores (.npy or .npz) beside the mask, found none; write "
        "them with 'uosam coarse --scores', or leave out labels.scores"
    )


def read_scores(path: Path, labels: LabelMap) -> Floats:
    """Read the class scores behind a mask as probabilities.

    Args:
        path: ``.npy`` or ``.npz`` of (C, H, W) floats.
        labels: (H, W) ids of the mask, IGNORE where unknown.

    Returns:
        (C, H, W), each pixel sums to 1.

    Raises:
        InputError: the file is damaged, of another size, or its argmax is another mask.
    """
    stored = read_stored(path)
    if stored.codec != "scores" or stored.array.shape[1:] != labels.shape:
        raise InputError(
            f"{path}: class scores must be floats (C, {labels.shape[0]}, {labels.shape[1]}), got "
            f"{stored.array.shape} {stored.array.dtype}"
        )
    known = labels >= 0
    others = int((np.argmax(stored.array, axis=0)[known] != labels[known]).sum())
    if others:
        raise InputError(
            f"{path}: the mask must be the argmax of its class scores, but {others} pixels differ; "
            "they are of different runs, write both again"
        )
    return to_probabilities(stored.array)


def check_scores(name: str, scores: NDArray[Any]) -> None:
    """Refuse class scores that say nothing.

    Args:
        name: of the file or argument, for the message.
        scores: of a model.

    Raises:
        InputError: they are no (C, H, W) floats of two classes or more, hold nan or +inf, or are
            zero everywhere.
    """
    if scores.ndim != 3 or scores.dtype.kind != "f" or not scores.size or len(scores) < 2:
        raise InputError(
            f"{name}: class scores must be floats (C, H, W) of two classes or more, got "
            f"{scores.shape} {scores.dtype}; parts of one object lie in [0, 1]"
        )
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise InputError(f"{name}: class scores must be (C, H, W) without nan or +inf, got some")
    if not scores.any():
        raise InputError(f"{name}: class scores must tell classes apart, got zeros everywhere")


def binary_scores(part: NDArray[Any]) -> Floats:
    """Return probabilities (2, H, W) of background and object from parts in [0, 1]."""
    flat = part.reshape(part.shape[-2:]).astype(np.float32)
    return np.stack([1 - flat, flat])


def flip_soft(labels: LabelMap, part: NDArray[Any] | None) -> NDArray[Any]:
    """Change parts of an object as little as puts them above 0.5 where the label is 1.

    Args:
        labels: (H, W) of 0 and 1.
        part: (H, W) or (1, H, W) floats in [0, 1].

    Raises:
        InputError: no parts, another size, or other labels.
    """
    if part is None or part.shape[-2:] != labels.shape:
        got = "none" if part is None else str(part.shape)
        raise InputError(f"codec 'soft' needs the parts {labels.shape}, got {got}")
    if not np.isin(labels, (0, 1)).all():
        raise InputError(
            f"parts of one object store the ids 0 and 1, got {labels.min()} to {labels.max()}"
        )
    old = part.reshape(labels.shape)
    flipped = np.where((old > 0.5) == (labels == 1), old, 1 - old).astype(part.dtype)
    above = np.nextafter(np.asarray(0.5, part.dtype), np.asarray(1, part.dtype))
    tied = (labels == 1) & (flipped <= 0.5)
    return np.where(tied, above, flipped).astype(part.dtype).reshape(part.shape)


def to_probabilities(scores: NDArray[Any]) -> Floats:
    """Turn class scores of any kind into probabilities.

    Scores without a negative value are divided by their sum; others are taken for logits or
    log-probabilities and go through a softmax. A pixel whose scores tell nothing is uniform.

    Args:
        scores: (C, H, W) floats without nan and +inf.

    Returns:
        (C, H, W), each pixel sums to 1.

    >>> to_probabilities(np.array([[[3.0]], [[1.0]]])).ravel().tolist()
    [0.75, 0.25]
    """
    weights = scores.astype(np.float64)
    if (scores < 0).any():
        top = weights.max(axis=0)
        weights = np.exp(weights - np.where(np.isfinite(top), top, 0))
    total = weights.sum(axis=0)
    told = total > 0
    shares = np.divide(weights, total, out=np.full_like(weights, 1 / len(scores)), where=told)
    return np.asarray(shares, np.float32)


def swap_scores(labels: LabelMap, scores: NDArray[Any] | None) -> NDArray[Any]:
    """Change the scores as little as makes their argmax equal to ``labels``.

    The scores of the old and the new label change places; a third class that ties with them is
    passed by one step of the float format.

    Args:
        labels: (H, W) ids 0..C-1.
        scores: (C, H, W) floats.

    Returns:
        (C, H, W) of the same dtype.

    Raises:
        InputError: no scores, another size, or an id without a channel.
    """
    if scores is None or scores.shape[1:] != labels.shape:
        got = "none" if scores is None else str(scores.shape)
        raise InputError(
            f"codec 'scores' needs the scores (C, {labels.shape[0]}, {labels.shape[1]}), got {got}"
        )
    if labels.size and (labels.min() < 0 or labels.max() >= len(scores)):
        raise InputError(
            f"class scores of {len(scores)} channels store ids 0 to {len(scores) - 1}, "
            f"got {labels.min()} to {labels.max()}"
        )
    swapped = scores.copy()
    old, new = np.argmax(scores, axis=0)[None], labels[None].astype(np.int64)
    top, low = (np.take_along_axis(scores, index, axis=0) for index in (old, new))
    np.put_along_axis(swapped, old, low, axis=0)
    np.put_along_axis(swapped, new, top, axis=0)
    # A third channel may tie with the old top and come before the new one.
    tied = np.argmax(swapped, axis=0)[None] != new
    above = np.where(tied, np.nextafter(top, np.asarray(np.inf, top.dtype)), top)
    np.put_along_axis(swapped, new, above, axis=0)
    return swapped
