"""Imitate the coarse masks of a USS network from ground truth: right classes, blurred shapes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.structures import LabelMap


def imitate_coarse(
    target: LabelMap, generator: np.random.Generator, *, noise: float, stride: int = 32
) -> LabelMap:
    """Average each class onto a coarse grid, add low-frequency noise, enlarge, take the best.

    Args:
        target: (H, W) ground truth without IGNORE.
        generator: of the noise.
        noise: standard deviation added to the class shares, which lie in [0, 1].
        stride: pixels to a cell, as in a network of that output stride.
    """
    height, width = target.shape
    grid_hw = -(-height // stride), -(-width // stride)
    ids = np.unique(target)
    scores: list[NDArray[np.float32]] = []
    for label in ids:
        share = cv2.resize(
            (target == label).astype(np.float32), grid_hw[::-1], interpolation=cv2.INTER_AREA
        )
        field = generator.standard_normal((grid_hw[0] + 8, grid_hw[1] + 8)).astype(np.float32)
        field = cv2.GaussianBlur(field, (0, 0), 1.0)[4:-4, 4:-4]
        field *= noise / (field.std() + 1e-6)
        scores.append(cv2.resize(share + field, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(ids[np.argmax(scores, axis=0)], np.int32)
