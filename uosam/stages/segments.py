"""Masks of everything mode: as bits, cut by crops, repeated or not, and painted into one map."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.labels import box as corners_of
from uosam.structures import LabelMap, Mask

_SMALL = 256  # long side at which masks are compared
_EDGE = 20  # a mask whose box ends this near to the edge of a crop is cut by it

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class Segment:
    """One mask of a picture; masks of a picture are hundreds, so it is kept as bits.

    Attributes:
        bits: of the (H, W) mask, packed.
        hw: size of the picture.
        box: x0, y0, x1, y1 in pixels, inclusive; all 0 for an empty mask.
        score: the backend's estimate of the mask's IoU.
        stability: in [0, 1].
        level: of granularity, or 0.
        point: x, y that asked for it, counted from the upper left corner of the first pixel.
        crop: x0, y0, x1, y1 of the crop it was found in, the last ones exclusive.
    """

    bits: NDArray[np.uint8]
    hw: tuple[int, int]
    box: Box
    score: float
    stability: float
    level: int
    point: tuple[float, float]
    crop: Box

    @property
    def mask(self) -> Mask:
        """The (H, W) mask."""
        height, width = self.hw
        return np.unpackbits(self.bits, count=height * width).reshape(height, width).astype(bool)


def crop_boxes(hw: tuple[int, int], layers: int, overlap: float) -> Iterator[tuple[int, Box]]:
    """Yield the layer and the box x0, y0, x1, y1 (exclusive) of the whole and of all crops.

    >>> [crop for layer, crop in crop_boxes((10, 20), 1, 0.2)][1]
    (0, 0, 11, 6)
    """
    height, width = hw
    yield 0, (0, 0, width, height)
    for layer in range(1, layers + 1):
        amount = 2**layer
        shared = int(overlap * min(hw) * (2 / amount))
        wide, high = (
            math.ceil((shared * (amount - 1) + side) / amount) for side in (width, height)
        )
        for column, row in product(range(amount), repeat=2):
            x0, y0 = (wide - shared) * column, (high - shared) * row
            if x0 < width and y0 < height:
                yield layer, (x0, y0, min(x0 + wide, width), min(y0 + high, height))


def tight_box(mask: Mask) -> Box:
    """Return x0, y0, x1, y1 of a mask, inclusive; all 0 for an empty one."""
    if not mask.any():
        return 0, 0, 0, 0
    x0, y0, x1, y1 = (int(side) for side in corners_of(mask))
    return x0, y0, x1, y1


def is_cut(box: Box, crop: Box, hw: tuple[int, int]) -> bool:
    """Tell whether a mask ends at an edge of its crop that is none of the picture."""
    whole = (0, 0, hw[1], hw[0])
    return any(
        abs(own - edge) <= _EDGE < abs(own - end)
        for own, edge, end in zip(box, crop, whole, strict=True)
    )


def suppress_boxes(
    boxes: Sequence[Box], values: NDArray[np.floating], max_overlap: float
) -> NDArray[np.int64]:
    """Drop boxes that nearly repeat one of a higher value, as torchvision's ``nms`` does.

    Args:
        boxes: x0, y0, x1, y1 each; the area is that between the corners.
        values: (M,) higher is better; ties keep the earlier box.
        max_overlap: IoU above which the worse box goes.

    Returns:
        Indices of the kept boxes, best first.
    """
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    kept: list[int] = []
    for index in np.argsort(-values, kind="stable").tolist():
        others = corners[kept]
        low = np.maximum(corners[index, :2], others[:, :2])
        high = np.minimum(corners[index, 2:], others[:, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        if (shared <= max_overlap * (areas[index] + areas[kept] - shared)).all():
            kept.append(index)
    return np.array(kept, np.int64)


def shrunk(mask: Mask) -> NDArray[np.bool_]:
    """Return a mask at a long side of at most 256, at which masks are compared."""
    height, width = mask.shape
    scale = min(1.0, _SMALL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # Averages are cut below a half, so that thin things do not vanish.
    return np.asarray(
        cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.25
    )


def paint(segments: Sequence[Segment], hw: tuple[int, int], *, gaps: bool = False) -> LabelMap:
    """Make a label map without overlaps.

    Where masks overlap, the smallest has the pixel, of equals the later; a pixel of no mask gets
    that of the nearest pixel that has one, unless gaps are to stay.

    Args:
        segments: the first gets id 1.
        hw: size of the picture.
        gaps: whether pixels of no mask keep id 0.

    Returns:
        (H, W) ids from 1; all 0 without any mask.
    """
    labels = np.zeros(hw, np.int32)
    masks = [one.mask for one in segments]
    areas = np.array([-np.count_nonzero(mask) for mask in masks])
    for index in np.argsort(areas, kind="stable"):
        labels[masks[index]] = index + 1
    empty = labels == 0
    if not gaps and empty.any() and not empty.all():
        _, nearest = cv2.distanceTransformWithLabels(
            empty.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        table = np.zeros(nearest.max() + 1, np.int32)
        table[nearest[~empty]] = labels[~empty]
        labels = table[nearest]
    return labels
