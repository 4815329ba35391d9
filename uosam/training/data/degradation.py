"""Masks such as networks emit, made from ground truth: blurred, deformed, partial or too large."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

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
    best = np.full((height, width), -np.inf, np.float32)
    coarse = np.full((height, width), ids[0], np.int32)
    for label in ids:
        share = cv2.resize(
            (target == label).astype(np.float32), grid_hw[::-1], interpolation=cv2.INTER_AREA
        )
        field = smooth_noise(grid_hw, generator, noise)
        score = cv2.resize(share + field, (width, height), interpolation=cv2.INTER_LINEAR)
        better = score > best
        np.copyto(best, score, where=better)
        coarse[better] = label
    return coarse


def smooth_noise(hw: tuple[int, int], generator: np.random.Generator, deviation: float) -> Floats:
    """Draw (H, W) noise of a standard deviation that changes over a few cells."""
    # Drawn as float64: the masks of the examples are made again to the pixel by these draws.
    wide = generator.standard_normal((hw[0] + 8, hw[1] + 8)).astype(np.float32)
    field = np.asarray(cv2.GaussianBlur(wide, (0, 0), 1.0)[4:-4, 4:-4], np.float32)
    field *= deviation / (field.std() + 1e-6)
    return field


def deform(mask: Mask, generator: np.random.Generator, *, amount: float = 1.0) -> Mask:
    """Swell or shrink a mask, wave its outline and shift it, each in proportion to its size.

    Args:
        mask: (H, W), neither empty nor full.
        generator: of everything random.
        amount: factor of all three; 1 loses about a quarter of the IoU, 0.2 a twentieth.

    Returns:
        (H, W); may be empty.
    """
    size = amount * float(np.sqrt(np.count_nonzero(mask)))
    wave = size * generator.uniform(0.0, 0.1) * _waves(mask.shape, generator)
    deformed = _distance(mask) + size * generator.uniform(-0.1, 0.12) + wave > 0
    return _shift(deformed, size * generator.uniform(-0.06, 0.06, 2))


def partial(mask: Mask, generator: np.random.Generator) -> Mask:
    """Keep 0.25 to 0.75 of an object around one place, as networks that look for its telling part.

    Args:
        mask: (H, W), not empty.
        generator: of everything random.

    Returns:
        (H, W) a blob with a smooth outline of its own; it leaves the object by a little.
    """
    rows, cols = np.nonzero(mask)
    centre = int(generator.integers(len(rows)))
    angle = generator.uniform(0, np.pi)
    longer = np.exp(generator.uniform(-0.6, 0.6))
    y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
    dy, dx = y - rows[centre], x - cols[centre]
    along = (np.cos(angle) * dx + np.sin(angle) * dy) * longer
    across = (np.cos(angle) * dy - np.sin(angle) * dx) / longer
    size = float(np.sqrt(len(rows)))
    away = np.sqrt(along**2 + across**2).astype(np.float32)
    away += size * generator.uniform(0.02, 0.15) * _waves(mask.shape, generator)
    kept = away <= np.quantile(away[rows, cols], generator.uniform(0.25, 0.75))
    leak = size * generator.uniform(-0.03, 0.12)
    return np.asarray(kept & (_distance(mask) > -leak))


def oversized(mask: Mask, generator: np.random.Generator) -> Mask:
    """Grow an object by 0.15 to 0.5 of its size, as networks of few cells do.

    Args:
        mask: (H, W), neither empty nor full.
        generator: of everything random.
    """
    size = float(np.sqrt(np.count_nonzero(mask)))
    wave = size * generator.uniform(0.0, 0.15) * _waves(mask.shape, generator)
    grown = _distance(mask) + size * generator.uniform(0.15, 0.5) + wave > 0
    return _shift(grown, size * generator.uniform(-0.1, 0.1, 2))


def _waves(hw: tuple[int, ...], generator: np.random.Generator) -> Floats:
    """Draw (H, W) noise of deviation 1 that changes over some tens of pixels."""
    step = int(generator.choice([12, 16, 24, 32]))
    cells = smooth_noise((hw[0] // step + 2, hw[1] // step + 2), generator, deviation=1.0)
    return np.asarray(cv2.resize(cells, (hw[1], hw[0])), np.float32)


def _distance(mask: Mask) -> Floats:
    """Return the distance to the outline in pixels, positive inside; quick, to within a twentieth.

    A mask without an outline is far from it everywhere.
    """
    inside = mask.astype(np.uint8)
    to_edge = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_3)
    to_mask = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_3)
    far = np.float32(sum(mask.shape))
    return np.minimum(np.asarray(to_edge, np.float32), far) - np.minimum(to_mask, far)


def _shift(mask: Mask, by_xy: NDArray[np.float64]) -> Mask:
    height, width = mask.shape
    shift = np.array([[1, 0, by_xy[0]], [0, 1, by_xy[1]]], np.float32)
    moved = cv2.warpAffine(mask.astype(np.uint8), shift, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(moved > 0)
