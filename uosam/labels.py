"""Pure geometry on masks, label maps and pictures: no model, no files, no options."""

from __future__ import annotations

from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.structures import IGNORE, LOGIT_SCALE, Embedding, Floats, Image, LabelMap, Mask


def check_label_map(labels: NDArray[np.generic], image_hw: tuple[int, int]) -> None:
    """Refuse an array that is not an int32 label map of the given size.

    Raises:
        InputError: wrong dtype, number of axes or size.
    """
    if labels.dtype != np.int32 or labels.ndim != 2:
        raise InputError(
            f"a label map must be (H, W) int32, got {labels.shape} {labels.dtype}; "
            "read it with uosam.io.codecs.read_labels"
        )
    if labels.shape != image_hw:
        raise InputError(
            f"the mask must have the size of its picture {image_hw[0]} x {image_hw[1]} (H x W), "
            f"got {labels.shape[0]} x {labels.shape[1]}; resize it with nearest neighbour first"
        )
    if labels.size and labels.min() < IGNORE:
        raise InputError(
            f"ids must be 0 or more, or {IGNORE} where nothing is known, got {labels.min()}"
        )


def check_probabilities(scores: NDArray[Any], labels: LabelMap) -> None:
    """Refuse class probabilities that do not suit a label map.

    Args:
        scores: (C, h, w), channel = id, at any resolution.
        labels: (H, W) ids.

    Raises:
        InputError: no floats of three axes, nan, infinite or negative values, nothing but zeros, or
            fewer channels than ids.
    """
    if scores.ndim != 3 or scores.dtype.kind != "f" or not scores.size:
        raise InputError(
            f"scores must be float class probabilities (C, h, w), got {scores.shape} {scores.dtype}"
        )
    if np.isnan(scores).any():
        raise InputError("scores must be class probabilities, got nan")
    if scores.min() < 0 or np.isinf(scores).any():
        raise InputError(
            "scores must be class probabilities, finite and 0 or more, got "
            f"{scores.min():g} to {scores.max():g}; apply a softmax to logits"
        )
    if not scores.any():
        raise InputError("scores must tell classes apart, got zeros everywhere")
    largest = int(labels.max(initial=0))
    if largest >= len(scores):
        raise InputError(
            f"scores must have a channel for every id up to {largest}, got {len(scores)} channels"
        )


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union of two masks; nan where both are empty.

    >>> a = np.array([[1, 1, 0]], bool); b = np.array([[0, 1, 1]], bool)
    >>> round(iou(a, b), 4)
    0.3333
    """
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else float("nan")


def areas(labels: LabelMap) -> dict[int, int]:
    """Pixels of every id present, IGNORE left out, in order of id.

    >>> areas(np.array([[0, 0, 7], [-1, 7, 7]], np.int32))
    {0: 2, 7: 3}
    """
    known = labels[labels >= 0]
    if known.size and known.max() < known.size:  # ten times faster than a sort; ids may be 2 ** 30
        counts = np.bincount(known)
        ids = np.flatnonzero(counts)
        return dict(zip(ids.tolist(), counts[ids].tolist(), strict=True))
    ids, counts = np.unique(known, return_counts=True)
    return dict(zip(ids.tolist(), counts.tolist(), strict=True))


def components(mask: Mask, min_area: int = 1) -> list[Mask]:
    """8-connected components of at least ``min_area`` pixels, largest first.

    Components of equal area keep raster order of their first pixel.

    >>> [int(c.sum()) for c in components(np.array([[1, 0, 1, 1], [0, 0, 0, 1]], bool))]
    [3, 1]
    """
    count, ids, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    sizes = stats[1:count, cv2.CC_STAT_AREA]
    order = np.argsort(-sizes, kind="stable")
    return [ids == i + 1 for i in order if sizes[i] >= min_area]


def without_small_regions(mask: Mask, min_area: float) -> Mask:
    """Fill 8-connected holes of fewer than ``min_area`` pixels, then drop such components.

    If all components are that small, the largest stays. Source: SAM's mask generator (Kirillov et
    al., "Segment Anything", 2023, appendix B).

    >>> mask = np.array([[1, 1, 1, 0, 0, 1], [1, 0, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]], bool)
    >>> without_small_regions(mask, 2).astype(int).tolist()
    [[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]]
    """
    if min_area <= 1:  # nothing is that small
        return mask.copy()
    cleaned = mask.astype(np.uint8)
    for value in (0, 1):
        _, ids, stats, _ = cv2.connectedComponentsWithStats(
            (cleaned == value).astype(np.uint8), connectivity=8
        )
        sizes = stats[:, cv2.CC_STAT_AREA]
        small = sizes < min_area
        small[0] = False  # the other value
        if value and len(sizes) > 1 and small[1:].all():
            small[1 + np.argmax(sizes[1:])] = False
        if small.any():
            cleaned[small[ids]] = 1 - value
    return cleaned.astype(bool)


def box(mask: Mask) -> Floats:
    """Tight box x0, y0, x1, y1 of a mask, inclusive.

    Raises:
        InputError: the mask is empty.

    >>> box(np.array([[0, 0, 0], [0, 1, 1]], bool)).tolist()
    [1.0, 1.0, 2.0, 1.0]
    """
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise InputError("a box needs at least one pixel, got an empty mask")
    return np.array([cols[0], rows[0], cols[-1], rows[-1]], np.float32)


def signed_distance(mask: Mask) -> Floats:
    """Euclidean distance in pixels to the mask's edge: positive inside, negative outside.

    The picture's border is not an edge. A mask without an edge is +inf or -inf everywhere.

    >>> signed_distance(np.array([[0, 1, 1]], bool)).tolist()
    [[-1.0, 1.0, 2.0]]
    """
    if mask.all() or not mask.any():
        return np.full(mask.shape, np.inf if mask.all() else -np.inf, np.float32)
    inside = mask.astype(np.uint8)
    to_edge = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_mask = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(to_edge - to_mask, np.float32)


def near_distance(mask: Mask, reach: float) -> Floats:
    """Signed distance up to a reach, at the cost of the mask's own window.

    Args:
        mask: (H, W).
        reach: pixels beyond which the distance does not matter, above 0.

    Returns:
        (H, W) ``signed_distance`` clipped to plus and minus ``reach``.

    >>> near_distance(np.array([[0, 0, 0, 1, 1]], bool), 2.0).tolist()
    [[-2.0, -2.0, -1.0, 1.0, 2.0]]
    """
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    result = np.full(mask.shape, -reach, np.float32)
    if not len(rows):
        return result
    around = ceil(reach) + 1  # the edge of the window must not pass for the picture's border
    window = (
        slice(max(0, rows[0] - around), rows[-1] + 1 + around),
        slice(max(0, cols[0] - around), cols[-1] + 1 + around),
    )
    result[window] = np.clip(signed_distance(mask[window]), -reach, reach)
    return result


def colour_gradient(image: Image | Floats) -> Floats:
    """Measure how fast the colours change at every pixel, the evidence for an outline.

    Args:
        image: (H, W, 3) in any colour space; the result has its units.

    Returns:
        (H, W) length of the Sobel gradient over all channels after a blur of one pixel.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
    total = np.zeros(image.shape[:2], np.float32)
    for channel in cv2.split(smooth):
        for order in ((1, 0), (0, 1)):
            total += cv2.Sobel(channel, cv2.CV_32F, *order) ** 2
    return np.asarray(np.sqrt(total), np.float32)


def to_grid(array: NDArray[np.generic], embedding: Embedding, *, scale: int = 1) -> Floats:
    """Average an (H, W) array onto the embedding's grid, ``scale`` times finer.

    Args:
        array: (H, W) at the size of the embedded picture; bool or float.
        embedding: gives the grid and the part of it that the picture covers.
        scale: 1 for the feature grid, ``LOGIT_SCALE`` for the logit grid.

    Returns:
        (h * scale, w * scale); cells outside the picture are 0.
    """
    h, w = embedding.grid_hw
    rows, cols = (max(1, round(side * scale)) for side in embedding.extent)
    grid = np.zeros((h * scale, w * scale), np.float32)
    grid[:rows, :cols] = cv2.resize(
        array.astype(np.float32), (cols, rows), interpolation=cv2.INTER_AREA
    )
    return grid


def from_logits(logits: Floats, embedding: Embedding) -> Floats:
    """Enlarge one logit grid to the picture, bilinearly; the inverse of ``to_grid``.

    Args:
        logits: (4h, 4w) on the logit grid.
        embedding: of the picture.

    Returns:
        (H, W) logits.
    """
    rows, cols = (max(1, round(side * LOGIT_SCALE)) for side in embedding.extent)
    height, width = embedding.image_hw
    enlarged = cv2.resize(logits[:rows, :cols], (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged, np.float32)
