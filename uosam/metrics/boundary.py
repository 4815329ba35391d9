"""Where labels change: boundaries by one distance transform for all labels at once."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError
from uosam.structures import Floats, Mask

_FORWARD = ((0, 1), (1, 0), (1, 1), (1, -1))
"""One step (rows, columns) of each pair of opposite neighbours among the eight."""


def boundary_width(image_hw: tuple[int, int], ratio: float) -> int:
    """Return how many pixels deep a boundary is, for a ratio of the image diagonal.

    Rounds half to even, as both the Boundary IoU API and the LUSS evaluators do, and is at least 1.

    Args:
        image_hw: size in pixels.
        ratio: of the diagonal, above 0; Cheng et al. (Boundary IoU, CVPR 2021) use 0.02 for COCO
            and 0.005 for Cityscapes, LUSS uses 0.03.

    Raises:
        ConfigError: the ratio is not a positive number.

    >>> boundary_width((3, 4), 0.5), boundary_width((3, 4), 0.7), boundary_width((3, 4), 0.01)
    (2, 4, 1)
    """
    if not (math.isfinite(ratio) and ratio > 0):
        raise ConfigError(
            f"the boundary ratio must be above 0, got {ratio}; 0.02 of the diagonal is usual"
        )
    return max(1, round(ratio * math.hypot(*image_hw)))


def run_starts(labels: NDArray[np.generic]) -> Mask:
    """Mark every pixel that differs from the one before it, in the order of reading.

    The first pixel of a row is compared with the last of the row above; the very first is marked.

    Args:
        labels: (H, W) of any integer or bool type.

    >>> run_starts(np.array([[1, 1, 2], [2, 1, 1]])).astype(int).tolist()
    [[1, 0, 1], [0, 1, 0]]
    """
    flat = labels.reshape(-1)
    starts = np.ones(flat.shape, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=starts[1:])
    return starts.reshape(labels.shape)


def near_edge(labels: NDArray[np.generic], width: int, starts: Mask | None = None) -> Mask:
    """Mark every pixel that is at most ``width`` king's moves from another label or the outside.

    Within a label this is the mask of the label minus its ``width``-fold erosion by a 3 x 3 square,
    the boundary of Boundary IoU and of LUSS, for all labels at once. It equals
    ``edge_distance(labels) <= width`` and is several times faster for a single width.

    Args:
        labels: (H, W) of any integer or bool type.
        width: 1 or more, in pixels.
        starts: ``run_starts(labels)`` if it is known already.

    >>> near_edge(np.zeros((5, 5), int), 2).astype(int).tolist()[2]
    [1, 1, 0, 1, 1]
    """
    height, length = labels.shape
    near = np.ones(labels.shape, np.uint8)
    rows, cols = slice(width, height - width), slice(width, length - width)
    if height > 2 * width and length > 2 * width:
        # A window holds one label only if none of its 2 x 2 blocks holds two.
        across = (run_starts(labels) if starts is None else starts)[:, 1:]
        down = labels[1:] != labels[:-1]
        mixed = across[1:] | across[:-1]
        mixed |= down[:, 1:]
        mixed |= down[:, :-1]
        window = np.ones((2 * width, 2 * width), np.uint8)
        reached = cv2.dilate(mixed.view(np.uint8), window, anchor=(width, width))
        near[rows, cols] = reached[rows, cols]
    return near.view(np.bool_)


def edge_mask(labels: NDArray[np.generic], *, frame: bool = True, void: int | None = None) -> Mask:
    """Mark every pixel that has a pixel of another label among its eight neighbours.

    Args:
        labels: (H, W) of any integer or bool type.
        frame: whether outside the image counts as another label.
        void: label that differs from none, or None.

    >>> edge_mask(np.array([[1, 1, 1], [1, 1, 2]]), frame=False).astype(int).tolist()
    [[0, 1, 1], [0, 1, 1]]
    """
    edges = np.zeros(labels.shape, bool)
    height, width = labels.shape
    for down, right in _FORWARD:
        rows, cols = slice(0, height - down), slice(max(0, -right), width - max(0, right))
        far_rows = slice(down, height)
        far_cols = slice(max(0, right), width + min(0, right))
        near, far = labels[rows, cols], labels[far_rows, far_cols]
        change = near != far
        if void is not None:
            change &= (near != void) & (far != void)
        edges[rows, cols] |= change
        edges[far_rows, far_cols] |= change
    if frame:
        edges[0] = edges[-1] = True
        edges[:, 0] = edges[:, -1] = True
    return edges


def edge_distance(
    labels: NDArray[np.generic], *, frame: bool = True, void: int | None = None
) -> Floats:
    """Measure how far each pixel is from the nearest pixel of another label.

    One transform serves all labels and all widths: ``edge_distance(labels) <= d`` is, for every
    label at once, the mask of the label minus its d-fold erosion by a 3 x 3 square.

    Args:
        labels: (H, W) of any integer or bool type.
        frame: whether outside the image counts as another label (both sources: yes).
        void: label that differs from none, or None; with it, distances are to contours.

    Returns:
        (H, W) chessboard distance in pixels, 1 beside another label; inf where there is no other.

    >>> edge_distance(np.array([[1, 1, 1, 1], [1, 1, 1, 2]]), frame=False).astype(int).tolist()
    [[3, 2, 1, 1], [3, 2, 1, 1]]
    """
    edges = edge_mask(labels, frame=frame, void=void)
    if not edges.any():
        return np.full(labels.shape, np.inf, np.float32)
    # A king's walk of length d to another label passes one pixel that touches it, after d - 1.
    steps = cv2.distanceTransform((~edges).view(np.uint8), cv2.DIST_C, 3)
    return np.asarray(steps + 1, np.float32)
