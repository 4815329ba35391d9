"""Carry a coarse field to the pixels of a picture with the guided filter."""

from __future__ import annotations

import cv2
import numpy as np

from uosam.structures import Floats, Image

RADIUS = 4
"""Half width of the window, in pixels of the half-size guide."""
EPSILON = 1e-4
"""Variance of the guide, with colours in [0, 1], below which the field is smoothed."""


class GuidedFilter:
    """The colour guided filter at half resolution, prepared once per picture.

    Source: He, Sun, Tang, "Guided Image Filtering", TPAMI 2013, equations 14 and 15, with the
    coefficients computed on a smaller guide (He, Sun, "Fast Guided Filter", 2015).
    """

    def __init__(self, image: Image) -> None:
        height, width = image.shape[:2]
        self._full = np.asarray(image / 255, np.float32)
        self._small_wh = max(1, width // 2), max(1, height // 2)
        self._wh = width, height
        self._small = self._shrink(self._full)
        self._mean = self._box(self._small)
        red, green, blue = (
            self._box(self._small * self._small[:, :, [c]]) - self._mean * self._mean[:, :, [c]]
            for c in range(3)
        )
        self._inverse = _inverse_symmetric(
            red[:, :, 0] + np.float32(EPSILON),
            red[:, :, 1],
            red[:, :, 2],
            green[:, :, 1] + np.float32(EPSILON),
            green[:, :, 2],
            blue[:, :, 2] + np.float32(EPSILON),
        )

    def _shrink(self, values: Floats) -> Floats:
        small = cv2.resize(values, self._small_wh, interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32)

    def _box(self, values: Floats) -> Floats:
        side = 2 * RADIUS + 1
        blurred = cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)
        return np.asarray(blurred, np.float32)

    def __call__(self, field: Floats) -> Floats:
        """Filter an (h, w) field at the size of the picture; (h, w)."""
        small = self._shrink(field)
        mean = self._box(small)
        cross = self._box(self._small * small[:, :, None]) - self._mean * mean[:, :, None]
        slope = np.einsum("hwij,hwj->hwi", self._inverse, cross)
        offset = mean - (slope * self._mean).sum(axis=2)
        both = self._box(np.concatenate([slope, offset[:, :, None]], axis=2))
        large = np.asarray(cv2.resize(both, self._wh, interpolation=cv2.INTER_LINEAR), np.float32)
        return np.asarray((large[:, :, :3] * self._full).sum(axis=2) + large[:, :, 3], np.float32)


def _inverse_symmetric(
    rr: Floats, rg: Floats, rb: Floats, gg: Floats, gb: Floats, bb: Floats
) -> Floats:
    """Invert a symmetric 3 x 3 matrix at every pixel by its adjugate; (h, w, 3, 3).

    Several times faster than ``numpy.linalg.inv`` on many small matrices.
    """
    first, second, third = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
    middle, last, corner = rr * bb - rb * rb, rr * gg - rg * rg, rg * rb - rr * gb
    determinant = rr * first + rg * second + rb * third
    adjugate = np.stack([first, second, third, second, middle, corner, third, corner, last], axis=2)
    return np.asarray(adjugate / determinant[:, :, None], np.float32).reshape(*rr.shape, 3, 3)
