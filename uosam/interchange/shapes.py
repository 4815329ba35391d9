"""A label map as polygons, and polygons as a label map.

Coordinates are (x, y), an integer is the centre of a pixel, and pixels under an outline belong to
it, as OpenCV and Pillow fill polygons. With a tolerance of 0 the way back is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.structures import Floats, LabelMap, Mask

_FAR = 1 << 20
"""Coordinates of foreign files are clipped here, far outside of every picture."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Patch:
    """One piece of a label map, drawn over those before it.

    Attributes:
        label: id, or IGNORE.
        outline: (N, 2) x, y of its outer edge, at least three points.
    """

    label: int
    outline: Floats


def to_patches(labels: LabelMap, canvas: int | None, tolerance: float) -> list[Patch]:
    """Cut a label map into outlines that, painted in order, give it again.

    Every connected piece is painted without its holes, large ones first; what lies in a hole comes
    later, be it background. Pieces that the painting so far shows already are left out.

    Args:
        labels: (H, W).
        canvas: id that the painting begins with, or None for a canvas of no id.
        tolerance: distance in pixels within which outlines are made simpler; 0 for exact ones.

    >>> ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.int32)
    >>> [patch.label for patch in to_patches(ring, 0, 0)]
    [1, 0]
    """
    pieces: list[tuple[int, int, Any, Any, Mask]] = []
    for label in np.unique(labels).tolist():
        # Pieces that touch at corners are two: else two pieces could cross each other there.
        count, index, stats, _ = cv2.connectedComponentsWithStats(
            (labels == label).astype(np.uint8), connectivity=4
        )
        for number in range(1, count):
            x, y, width, height = stats[number, :4].tolist()
            window = index[y : y + height, x : x + width] == number
            (outline, *_), _ = cv2.findContours(
                window.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            filled = np.zeros(window.shape, np.uint8)
            cv2.fillPoly(filled, [outline], 1)
            place = slice(y, y + height), slice(x, x + width)
            at = outline + np.array([x, y])
            pieces.append((int(filled.sum()), label, at, place, filled.astype(bool)))
    pieces.sort(key=lambda piece: -piece[0])
    nothing = int(labels.min()) - 1
    painted = np.full(labels.shape, nothing if canvas is None else canvas, np.int32)
    patches = []
    for _, label, outline, place, filled in pieces:
        own = filled & (labels[place] == label)
        if (painted[place][own] == label).all():
            continue
        painted[place][filled] = label
        patches.append(Patch(label=label, outline=simplify(outline, tolerance)))
    return patches


def simplify(outline: NDArray[Any], tolerance: float) -> Floats:
    """Leave out points of a closed outline that lie within ``tolerance`` of the rest.

    Args:
        outline: (N, 2) or (N, 1, 2) x, y.
        tolerance: in pixels; 0 leaves out only points on straight lines (Douglas and Peucker).

    Returns:
        (M, 2), M at least 3; points of a tiny outline repeat.
    """
    points = cv2.approxPolyDP(outline.reshape(-1, 1, 2).astype(np.int32), tolerance, True)
    found = points.reshape(-1, 2).astype(np.float32)
    return found if len(found) >= 3 else np.resize(found, (3, 2))


def paint(
    patches: Iterable[Patch], hw: tuple[int, int], canvas: int, only: Mask | None = None
) -> LabelMap:
    """Paint outlines over each other.

    Args:
        patches: in order.
        hw: size of the map.
        canvas: id of pixels that none covers.
        only: (H, W) pixels that may be painted, or None for all.
    """
    labels = np.full(hw, canvas, np.int32)
    for patch in patches:
        filled = fill([patch.outline], hw)
        labels[filled if only is None else filled & only] = patch.label
    return labels


def fill(outlines: Sequence[NDArray[Any]], hw: tuple[int, int]) -> Mask:
    """Fill outlines, pixels under the lines too; (H, W)."""
    filled = np.zeros(hw, np.uint8)
    for outline in outlines:
        rounded = np.clip(np.round(outline), -_FAR, _FAR).astype(np.int32)
        cv2.fillPoly(filled, [rounded.reshape(-1, 1, 2)], 1)
    return filled.astype(bool)


def keyholes(mask: Mask, tolerance: float) -> list[Floats]:
    """Return one outline for each 8-connected piece of a mask; holes hang on by cuts of no width.

    For formats whose polygons can have no holes and are not painted over each other.

    Args:
        mask: (H, W).
        tolerance: as of ``simplify``.

    >>> ring = np.ones((5, 5), bool); ring[2, 2] = False
    >>> bool((fill(keyholes(ring, 0), (5, 5)) == ring).all())
    True
    """
    contours, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return []
    found = []
    for index, contour in enumerate(contours):
        if tree[0][index][3] >= 0:  # a hole
            continue
        outline = simplify(contour, tolerance)
        hole = tree[0][index][2]
        while hole >= 0:
            outline = _joined(outline, simplify(contours[hole], tolerance))
            hole = tree[0][hole][0]
        found.append(outline)
    return found


def _joined(outline: Floats, hole: Floats) -> Floats:
    """Go along an outline to where a hole is nearest, around the hole, back, and on."""
    distance = ((outline[:, None] - hole[None]) ** 2).sum(axis=2)
    near, start = np.unravel_index(int(distance.argmin()), distance.shape)
    around = np.roll(hole, -int(start), axis=0)
    at = int(near)
    return np.concatenate([outline[: at + 1], around, around[:1], outline[at:]])


def check_outline(points: Any, where: str) -> Floats:
    """Return the (N, 2) outline of a foreign file.

    Raises:
        InputError: not three finite points or more.
    """
    try:
        outline = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        outline = np.zeros(0)
    if outline.ndim != 2 or outline.shape[1] != 2 or len(outline) < 3:
        raise InputError(f"{where}: expected a polygon of three points x, y or more")
    if not np.isfinite(outline).all():
        raise InputError(f"{where}: expected a polygon of finite numbers")
    return np.clip(outline, -_FAR, _FAR).astype(np.float32)
