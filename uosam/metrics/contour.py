"""Contours of single objects: boundary F (DAVIS), and how ragged a drawn outline is."""

from __future__ import annotations

import math

import cv2
import numpy as np

from uosam.errors import ConfigError
from uosam.structures import IGNORE, LabelMap, Mask


def contour(mask: Mask) -> Mask:
    """Draw the one-pixel contour of a mask.

    A pixel is on it if its right, lower or lower right neighbour is on the other side; the frame
    of the image is no contour (Perazzi et al., DAVIS, CVPR 2016).

    >>> contour(np.array([[0, 0, 0], [0, 1, 1], [0, 1, 1]], bool)).astype(int).tolist()
    [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    """
    lines = np.zeros(mask.shape, bool)
    lines[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    lines[:-1] |= mask[:-1] != mask[1:]
    lines[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return lines


def contour_reach(image_hw: tuple[int, int], tolerance: float) -> int:
    """Return how many pixels apart two contours may be.

    Args:
        image_hw: size in pixels.
        tolerance: a part of the diagonal, rounded up, if below 1; else pixels.

    Raises:
        ConfigError: the tolerance is not a positive number.

    >>> contour_reach((480, 854), 0.008), contour_reach((480, 854), 3)
    (8, 3)
    """
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ConfigError(
            f"the contour tolerance must be above 0, got {tolerance}; DAVIS has 0.008"
        )
    return math.ceil(tolerance * math.hypot(*image_hw) if tolerance < 1 else tolerance)


def boundary_f(pred: Mask, target: Mask, *, tolerance: float = 0.008) -> float:
    """Score two masks by the harmonic mean of contour precision and recall.

    Without any contour on either side the score is 1; with one on one side only it is 0.

    Args:
        pred: (H, W).
        target: (H, W).
        tolerance: distance at which contours still agree; see ``contour_reach``.

    Returns:
        In [0, 1].

    Raises:
        ConfigError: the tolerance is not a positive number.

    >>> mask = np.zeros((9, 9), bool); mask[3:6, 3:6] = True
    >>> boundary_f(mask, np.roll(mask, 1), tolerance=1), boundary_f(mask, ~mask, tolerance=1)
    (1.0, 1.0)
    """
    reach = contour_reach(target.shape, tolerance)
    offsets = np.arange(-reach, reach + 1) ** 2
    disk = (offsets[:, None] + offsets <= reach**2).astype(np.uint8)
    contours = [contour(mask) for mask in (pred, target)]
    lines = [line.view(np.uint8) for line in contours]
    lengths = [cv2.countNonZero(line) for line in lines]
    if not all(lengths):
        return float(not any(lengths))
    near = [cv2.dilate(line, disk).view(np.bool_) for line in lines]
    precision = int(np.count_nonzero(contours[0] & near[1])) / lengths[0]
    recall = int(np.count_nonzero(contours[1] & near[0])) / lengths[1]
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def object_boundary_f(
    pred: LabelMap, target: LabelMap, *, background: int | None, tolerance: float = 0.008
) -> dict[int, float]:
    """Score every ground-truth object of one image by ``boundary_f``, in order of label.

    Args:
        pred: (H, W) labels in the ids of ``target``.
        target: (H, W) labels; ignored pixels belong to no mask.
        background: id that is no object, or None.
        tolerance: see ``contour_reach``.

    Returns:
        Label to score in [0, 1].

    >>> labels = np.array([[0, 0, 1, 1]], np.int32)
    >>> object_boundary_f(labels, labels, background=0)
    {1: 1.0}
    """
    scored = target != IGNORE
    return {
        label: boundary_f((pred == label) & scored, target == label, tolerance=tolerance)
        for label in np.unique(target[scored]).tolist()
        if label != background
    }


def outline_length(mask: Mask) -> float:
    """Measure the length of a mask's outline in pixels, along the frame of the image as well.

    By Crofton's formula in four directions, within a tenth for edges of any slope; counting the
    pixels of a contour makes slanted edges shorter than level ones.

    >>> square = np.zeros((40, 40), bool); square[10:30, 10:30] = True
    >>> 72 < outline_length(square) < 80
    True
    """
    from skimage.measure import perimeter_crofton  # here: a tenth of a second

    framed = np.pad(mask, 1)
    return float(perimeter_crofton(framed, directions=4))  # type: ignore[no-untyped-call]


def raggedness(pred: Mask, target: Mask) -> float:
    """Compare the length of an outline with that of the truth.

    Args:
        pred: (H, W).
        target: (H, W).

    Returns:
        1 where both are as long; above where the outline drawn is frayed or has specks or holes,
        below where it cuts corners. nan where either mask is empty.

    >>> smooth = np.zeros((40, 40), bool); smooth[8:32, 8:32] = True
    >>> frayed = smooth.copy(); frayed[8:10, 8:32:2] = False
    >>> raggedness(smooth, smooth), raggedness(frayed, smooth) > 1.2
    (1.0, True)
    """
    if not pred.any() or not target.any():
        return float("nan")
    return outline_length(pred) / outline_length(target)
