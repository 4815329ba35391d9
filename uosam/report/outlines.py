"""Regions as smooth outlines: paths that a browser draws anti-aliased at any size."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.measure import find_contours

from uosam.structures import IGNORE, LabelMap, Mask

_BLUR = 0.7  # pixels; rounds the stairs of a mask, not its corners
_NEAR = 0.25  # pixels that a point left out may lie off
_LEAST = 1.5  # pixels; what is smaller is a speck of the blur


def region_paths(
    labels: LabelMap, hw: tuple[int, int], background: int | None = 0
) -> list[tuple[int, str]]:
    """Return each class of a map and the SVG path around its regions, holes included.

    Args:
        labels: (H, W) ids.
        hw: size of the drawing, the units of the path.
        background: id without a path, or None. IGNORE has none either.
    """
    found = []
    for label in np.unique(labels).tolist():
        if label not in (IGNORE, background):
            path = mask_path(labels == label, hw)
            if path:
                found.append((label, path))
    return found


def mask_path(mask: Mask, hw: tuple[int, int]) -> str:
    """Return the SVG path around an (H, W) mask, to be filled by the rule "evenodd".

    >>> mask_path(np.zeros((4, 4), bool), (4, 4))
    ''
    """
    if not mask.any():
        return ""
    soft = mask.astype(np.float32)
    if soft.shape != hw:
        smaller = hw[0] < soft.shape[0]
        way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        soft = np.asarray(cv2.resize(soft, (hw[1], hw[0]), interpolation=way), np.float32)
    # The border repeats what is inside, so that the blur does not draw regions away from it.
    wide = cv2.copyMakeBorder(soft, 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    wide = np.asarray(cv2.GaussianBlur(wide, (0, 0), _BLUR), np.float32)[1:-1, 1:-1]
    wide[[0, -1]] = wide[:, [0, -1]] = 0
    parts = []
    for line in find_contours(wide, 0.5):  # type: ignore[no-untyped-call]
        closed = line[:-1, None].astype(np.float32)
        points = cv2.approxPolyDP(closed, _NEAR, closed=True)[:, 0]
        if len(points) < 3 or np.ptp(points, axis=0).max() < _LEAST:
            continue
        # Rows and columns of the border of 1 become x, y where pixels have their middle at a half.
        xy = np.round(np.clip(points[:, ::-1] - 0.5, 0, hw[::-1]), 1)
        parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in xy) + "Z")
    return "".join(parts)
