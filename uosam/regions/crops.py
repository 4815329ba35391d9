"""Regions of a label map, and the views of them that a model of whole pictures is shown.

The box rule is that of SSA-engine (Chen, Yang and Zhang, "Semantic Segment Anything", 2023); the
filled crop that of OVSeg (Liang et al., 2023), beside the crop as it is, for a model that was not
tuned on filled pictures dislikes them.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from uosam.labels import box as box_of
from uosam.labels import components
from uosam.structures import IGNORE, Image, LabelMap, Mask

Scalar = TypeVar("Scalar", bound=np.generic)

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels, inclusive."""

MOST_PARTS = 3
"""Parts of one id in one picture that are looked at, the largest ones."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Region:
    """A connected part of a label map, or a proposal.

    Attributes:
        picture: name of the sample.
        label: id in the map; of proposals their number.
        component: 0 for the largest part of this id in this picture.
        box: x0, y0, x1, y1 in pixels, inclusive.
        mask: (h, w) within the box.
        share: pixels of the region over pixels of the picture.
    """

    picture: str
    label: int
    component: int
    box: tuple[int, int, int, int]
    mask: Mask
    share: float


def find_regions(
    labels: LabelMap,
    picture: str,
    *,
    min_area: float = 0.01,
    background: int | None = None,
) -> list[Region]:
    """Cut a label map into its 8-connected parts, the largest three of each id.

    Args:
        labels: (H, W).
        picture: name of the sample.
        min_area: smallest part, as a share of the picture.
        background: id that is left out, or None.
    """
    least = int(np.ceil(min_area * labels.size))
    found = []
    for label in np.unique(labels).tolist():
        if label in (IGNORE, background):
            continue
        parts = components(labels == label, max(1, least))[:MOST_PARTS]
        found += [region_of(part, picture, label, number) for number, part in enumerate(parts)]
    return found


def region_of(mask: Mask, picture: str, label: int, component: int = 0) -> Region:
    """Make the region of an (H, W) mask with at least one pixel.

    Raises:
        InputError: the mask is empty.
    """
    x0, y0, x1, y1 = (int(side) for side in box_of(mask))
    return Region(
        picture=picture,
        label=label,
        component=component,
        box=(x0, y0, x1, y1),
        mask=mask[y0 : y1 + 1, x0 : x1 + 1].copy(),
        share=float(np.count_nonzero(mask) / mask.size),
    )


def whole_mask(region: Region, hw: tuple[int, int]) -> Mask:
    """Return the (H, W) mask of a region in a picture of that size."""
    mask = np.zeros(hw, bool)
    x0, y0, x1, y1 = region.box
    mask[y0 : y1 + 1, x0 : x1 + 1] = region.mask
    return mask


def draw_lots(regions: Iterable[Region], most: int) -> list[Region]:
    """Keep at most ``most`` regions of each id, the same ones in whatever order they come.

    Returns:
        in order of picture, id and part.
    """
    groups: dict[int, list[Region]] = defaultdict(list)
    for region in regions:
        groups[region.label].append(region)
    kept = [region for group in groups.values() for region in sorted(group, key=_lot)[:most]]
    return sorted(kept, key=lambda region: (region.picture, region.label, region.component))


def _lot(region: Region) -> tuple[int, str, int]:
    name = f"{region.picture}/{region.label}/{region.component}"
    lot = zlib.crc32(name.encode(errors="surrogateescape"))
    return lot, region.picture, region.component


def ssa_box(box: Box, scale: float, hw: tuple[int, int]) -> Box:
    """Grow a box about its centre as SSA-engine does: fractions cut towards zero, then clipped.

    >>> ssa_box((10, 20, 40, 60), 1.2, (120, 160))
    (6, 15, 43, 64)
    """
    x0, y0, x1, y1 = box
    more_x = (x1 - x0 + 1) * (scale - 1) / 2
    more_y = (y1 - y0 + 1) * (scale - 1) / 2
    right, bottom = hw[1] - 1, hw[0] - 1
    return (
        min(max(int(x0 - more_x), 0), right),
        min(max(int(y0 - more_y), 0), bottom),
        min(max(int(x1 + more_x), 0), right),
        min(max(int(y1 + more_y), 0), bottom),
    )


def cut(image: NDArray[Scalar], box: Box) -> NDArray[Scalar]:
    """Return the part of an (H, W, ...) array that lies in a box."""
    x0, y0, x1, y1 = box
    return image[y0 : y1 + 1, x0 : x1 + 1]


def pad_square(image: Image, colour: tuple[int, int, int]) -> Image:
    """Centre a picture in a square of its longer side, so that a network sees all of it.

    >>> pad_square(np.zeros((1, 3, 3), np.uint8), (9, 9, 9))[..., 0].tolist()
    [[9, 9, 9], [0, 0, 0], [9, 9, 9]]
    """
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = colour
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def crop_view(image: Image, region: Region, colour: tuple[int, int, int]) -> Image:
    """Return the box of a region, a fifth larger, as it is, padded to a square."""
    return pad_square(cut(image, ssa_box(region.box, 1.2, image.shape[:2])), colour)


def masked_view(image: Image, region: Region, colour: tuple[int, int, int]) -> Image:
    """Return the box of a region, what lies outside the region filled, padded to a square."""
    filled = cut(image, region.box).copy()
    filled[~region.mask] = colour
    return pad_square(filled, colour)
