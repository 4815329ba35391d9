"""Where the edge of each region runs between pixels, so that lines can be drawn smooth."""

from __future__ import annotations

from collections.abc import Iterator, Set

import cv2
import numpy as np
from scipy.ndimage import find_objects
from scipy.special import ndtri

from uosam.structures import Floats, LabelMap

_LEAST_BLUR = 1.0
"""Pixels; rounds the stairs of a mask, not its corners."""

_REACH = 3.5
"""Deviations of the blur within which it tells a distance."""


def edge_distances(
    labels: LabelMap, hw: tuple[int, int], leave_out: Set[int], reach: float
) -> Iterator[tuple[int, tuple[slice, slice], Floats]]:
    """Yield each id, a part of the drawing, and how far its pixels lie inside the id's edge.

    An edge blurred by a Gaussian is the distribution of the normal law across it, whose inverse is
    the distance: of a straight edge exactly, and stairs and specks of a pixel are rounded off.

    Args:
        labels: (H, W) ids of any values.
        hw: size of the drawing in pixels, that of the map or another.
        leave_out: ids that are not wanted.
        reach: pixels of the drawing up to which distances are to be told.

    Yields:
        The id, rows and columns, and (rows, columns) pixels: negative outside, and held at what the
        blur can tell.
    """
    ids, index = np.unique(labels, return_inverse=True)
    index = index.reshape(labels.shape)
    scale = np.array(hw) / labels.shape
    blur = max(_LEAST_BLUR, 0.5 * scale.max(), reach / _REACH)  # pixels of the drawing
    # A pixel of the map is a square, which spreads an edge by a twelfth of its area.
    across = float(np.sqrt(blur**2 + scale.max() ** 2 / 12))
    deviations = np.maximum(blur / scale, 1e-3)  # pixels of the map, y and x
    margin = np.ceil(_REACH * deviations).astype(int) + 1
    places = find_objects(index + 1)
    for number, (label, found) in enumerate(zip(ids.tolist(), places, strict=True)):
        if label in leave_out:
            continue
        starts = np.maximum([side.start for side in found] - margin, 0)
        stops = np.minimum([side.stop for side in found] + margin, labels.shape)
        part = index[starts[0] : stops[0], starts[1] : stops[1]] == number
        soft = cv2.GaussianBlur(
            part.astype(np.float32),
            (0, 0),
            sigmaX=float(deviations[1]),
            sigmaY=float(deviations[0]),
            borderType=cv2.BORDER_REPLICATE,
        )
        top, left = np.floor(starts * scale).astype(int)
        bottom, right = np.minimum(np.ceil(stops * scale).astype(int), hw)
        if soft.shape != (bottom - top, right - left) or (scale != 1).any():
            # The middle of pixel i of the drawing lies at (i + 0.5) / scale - 0.5 of the map.
            to_map = np.array([
                [1 / scale[1], 0, (left + 0.5) / scale[1] - 0.5 - starts[1]],
                [0, 1 / scale[0], (top + 0.5) / scale[0] - 0.5 - starts[0]],
            ])  # fmt: skip
            soft = cv2.warpAffine(
                soft,
                to_map,
                (int(right - left), int(bottom - top)),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        yield label, (slice(top, bottom), slice(left, right)), _distance(soft, across)


def _distance(soft: Floats, blur: float) -> Floats:
    low, high = 2.5e-4, 1 - 2.5e-4  # about 3.5 deviations
    distance = np.where(soft > 0.5, np.float32(_REACH * blur), np.float32(-_REACH * blur))
    near = (soft > low) & (soft < high)
    distance[near] = blur * ndtri(soft[near])
    return distance
