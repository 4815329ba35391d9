"""Depth made from ground truth: what a perfect sensor would see if every region were a plane.

It knows the outlines that a method is scored on, and so gives an upper bound, nothing else.
"""

from __future__ import annotations

import cv2
import numpy as np

from uosam.geometry.depth_map import DepthMap
from uosam.labels import components
from uosam.structures import IGNORE, LabelMap, Mask

NEAREST, FARTHEST = 1.0, 6.0
"""Metres of a region's middle; regions of a picture are spread evenly and shuffled."""
NOISE = 0.01
"""Deviation of a measurement, as a share of the distance."""


def synthetic_depth(target: LabelMap, seed: int = 0) -> DepthMap:
    """Give every connected region a slanting plane of its own, with noise and holes.

    Holes are what such sensors have: a strip beside the outlines of near things, and blobs. Ignored
    pixels get the plane of the nearest region.

    Args:
        target: (H, W) true labels.
        seed: of planes, noise and holes.
    """
    generator = np.random.default_rng(seed)
    filled = _without_ignore(target)
    parts = [
        part for label in np.unique(filled).tolist() for part in components(filled == label, 16)
    ]
    middles = generator.permutation(np.linspace(NEAREST, FARTHEST, max(len(parts), 2)))
    height, width = target.shape
    v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    z = np.full(target.shape, FARTHEST)
    for part, middle in zip(parts, middles, strict=False):
        slope = generator.uniform(-0.15, 0.15, 2)
        z[part] = (middle * (1 + slope[0] * u + slope[1] * v))[part]
    z *= 1 + NOISE * generator.standard_normal(z.shape)
    z[_holes(z, generator)] = np.nan
    return DepthMap(z=z.astype(np.float32))


def _without_ignore(target: LabelMap) -> LabelMap:
    known = target != IGNORE
    if known.all() or not known.any():
        return target
    _, ids = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros(int(ids.max()) + 1, np.int32)
    table[ids[known]] = target[known]
    return np.where(known, target, table[ids])


def _holes(z: np.ndarray, generator: np.random.Generator) -> Mask:
    """Mark a strip on the far side of steps, and the places where a slow noise is high."""
    reach = max(3, round(min(z.shape) / 80)) | 1
    nearest = cv2.erode(z, np.ones((reach, reach)))
    shadow = (nearest < 0.85 * z) & (generator.random(z.shape) < 0.7)
    slow = cv2.GaussianBlur(generator.standard_normal(z.shape), (0, 0), min(z.shape) / 40)
    return shadow | (slow > np.quantile(slow, 0.98))
