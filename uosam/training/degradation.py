"""Coarse masks such as a USS network emits, made from ground truth: right class, blurred shape."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.labels import signed_distance
from uosam.structures import Floats, LabelMap, Mask


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
        field = smooth_noise(grid_hw, generator, noise)
        scores.append(cv2.resize(share + field, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(ids[np.argmax(scores, axis=0)], np.int32)


def smooth_noise(hw: tuple[int, int], generator: np.random.Generator, deviation: float) -> Floats:
    """Draw (H, W) noise of a standard deviation that changes over a few cells."""
    wide = generator.standard_normal((hw[0] + 8, hw[1] + 8)).astype(np.float32)
    field = np.asarray(cv2.GaussianBlur(wide, (0, 0), 1.0)[4:-4, 4:-4], np.float32)
    field *= deviation / (field.std() + 1e-6)
    return field


def deform(mask: Mask, generator: np.random.Generator) -> Mask:
    """Swell or shrink a mask, wave its outline and shift it, each in proportion to its size.

    Args:
        mask: (H, W), neither empty nor full.
        generator: of everything random.

    Returns:
        (H, W); may be empty.
    """
    height, width = mask.shape
    size = float(np.sqrt(np.count_nonzero(mask)))
    cells = smooth_noise((height // 16 + 2, width // 16 + 2), generator, deviation=1.0)
    wave = size * generator.uniform(0.0, 0.1) * cv2.resize(cells, (width, height))
    deformed = signed_distance(mask) + size * generator.uniform(-0.1, 0.12) + wave > 0
    dx, dy = size * generator.uniform(-0.06, 0.06, 2)
    shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    moved = cv2.warpAffine(
        deformed.astype(np.uint8), shift, (width, height), flags=cv2.INTER_NEAREST
    )
    return np.asarray(moved > 0)
