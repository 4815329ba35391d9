"""Superpixels of a picture, what they look like, and which of them touch.

Everything the graph-cut backend knows about a picture before anybody asks about an object.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.labels import colour_gradient
from uosam.structures import Floats, Image

WORK_SIDE = 512
"""Longest side, in pixels, of the copy of the picture that is segmented."""
CELL = 7
"""Side of the square that seeds one region, in pixels of the working copy."""
_MARGIN = 2  # cv2.watershed gives up the outermost pixel; it works on a padded copy


@dataclass(frozen=True, eq=False, kw_only=True)
class Regions:
    """N superpixels of the working copy, and E pairs of them that share an edge.

    Attributes:
        ids: (h, w) region of every pixel, 0 to N - 1.
        area: (N,) pixels.
        centre: (N, 2) mean row and column, in pixels.
        colour: (N, 4) mean CIELAB and local deviation of lightness, scaled so that Euclidean
            distance is perceptual difference (lightness divided by 1.3, texture times 0.8).
        pairs: (E, 2) neighbours, smaller id first.
        shared: (E,) length of the common edge, in pixels.
        contrast: (E,) mean gradient magnitude along it, in CIELAB units.
        difference: (E,) CIELAB distance between the two means.
    """

    ids: NDArray[np.int32]
    area: Floats
    centre: Floats
    colour: Floats
    pairs: NDArray[np.int64]
    shared: Floats
    contrast: Floats
    difference: Floats

    def __len__(self) -> int:
        return len(self.area)

    def mean(self, values: Floats) -> Floats:
        """Average an (h, w) map over every region; (N,)."""
        return _means(self.ids, self.area, values)


def _means(ids: NDArray[np.int32], area: Floats, values: Floats) -> Floats:
    sums = np.bincount(ids.ravel(), values.ravel(), len(area))
    return np.asarray(sums / area, np.float32)


def working_copy(image: Image) -> Image:
    """Shrink a picture to ``WORK_SIDE``; smaller pictures are returned as they are."""
    height, width = image.shape[:2]
    scale = WORK_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _lab(image: Image) -> Floats:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def _seeds(gradient: Floats) -> NDArray[np.int32]:
    """Mark the flattest pixel of every ``CELL`` x ``CELL`` square, 1 to N; 0 elsewhere."""
    height, width = gradient.shape
    cell_h, cell_w = min(CELL, height), min(CELL, width)
    rows, cols = height // cell_h, width // cell_w
    top, left = (height - rows * cell_h) // 2, (width - cols * cell_w) // 2
    squares = gradient[top : top + rows * cell_h, left : left + cols * cell_w]
    squares = squares.reshape(rows, cell_h, cols, cell_w).transpose(0, 2, 1, 3)
    # A seed stays off the square's rim, so that the seeds of neighbours never touch.
    inset_h, inset_w = cell_h // 4, cell_w // 4
    inner = squares[:, :, inset_h : cell_h - inset_h, inset_w : cell_w - inset_w]
    flattest = inner.reshape(rows, cols, -1).argmin(axis=2)
    inner_w = cell_w - 2 * inset_w
    y = top + np.arange(rows)[:, None] * cell_h + inset_h + flattest // inner_w
    x = left + np.arange(cols)[None] * cell_w + inset_w + flattest % inner_w
    seeds = np.zeros(gradient.shape, np.int32)
    seeds[y, x] = np.arange(1, rows * cols + 1).reshape(rows, cols)
    return seeds


def _watershed(image: Image, gradient: Floats) -> NDArray[np.int32]:
    """Flood the picture from its seeds; (h, w) ids from 0."""
    pad = (_MARGIN,) * 4
    markers = cv2.copyMakeBorder(_seeds(gradient), *pad, cv2.BORDER_CONSTANT, value=0)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    smooth = cv2.GaussianBlur(lab, (0, 0), 1.0)
    padded = cv2.copyMakeBorder(smooth, *pad, cv2.BORDER_REPLICATE)
    cv2.watershed(padded, markers)
    inner = markers[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    # Watershed lines are one pixel wide: each of their pixels joins a neighbour.
    while (inner <= 0).any():
        filled = cv2.dilate(inner.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
        inner = np.where(inner <= 0, filled, inner)
    return np.asarray(inner - 1, np.int32)


def _adjacency(
    ids: NDArray[np.int32], gradient: Floats
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Find neighbouring regions: (E, 2) pairs, (E,) shared pixels, (E,) mean gradient there."""
    first = np.concatenate([ids[:, :-1].ravel(), ids[:-1].ravel()]).astype(np.int64)
    second = np.concatenate([ids[:, 1:].ravel(), ids[1:].ravel()]).astype(np.int64)
    across = np.maximum(gradient[:, :-1], gradient[:, 1:]).ravel()
    down = np.maximum(gradient[:-1], gradient[1:]).ravel()
    edge = np.concatenate([across, down])
    differ = first != second
    first, second, edge = first[differ], second[differ], edge[differ]
    count = int(ids.max()) + 1
    keys, inverse = np.unique(
        np.minimum(first, second) * count + np.maximum(first, second), return_inverse=True
    )
    shared = np.bincount(inverse, minlength=len(keys)).astype(np.float32)
    contrast = np.bincount(inverse, edge, len(keys)) / np.maximum(shared, 1)
    pairs = np.stack([keys // count, keys % count], axis=1)
    return pairs, shared, np.asarray(contrast, np.float32)


def find_regions(image: Image) -> Regions:
    """Cut a working copy into superpixels by marker-based watershed on its colours.

    Args:
        image: (h, w, 3) RGB, at most ``WORK_SIDE`` long; any size down to 1 x 1.
    """
    lab = _lab(image)
    gradient = colour_gradient(lab) / np.float32(4)  # Sobel's weights on either side sum to four
    ids = _watershed(image, gradient)
    area = np.bincount(ids.ravel()).astype(np.float32)
    mean = partial(_means, ids, area)
    height, width = ids.shape
    rows, cols = np.mgrid[:height, :width].astype(np.float32)
    lightness = lab[:, :, 0]
    local = cv2.GaussianBlur(lightness, (0, 0), 4)
    variance = cv2.GaussianBlur(lightness**2, (0, 0), 4) - local**2
    texture = np.sqrt(np.maximum(variance, 0)).astype(np.float32)
    means = np.stack([mean(lab[:, :, channel]) for channel in range(3)], axis=1)
    pairs, shared, contrast = _adjacency(ids, gradient)
    return Regions(
        ids=ids,
        area=area,
        centre=np.stack([mean(rows), mean(cols)], axis=1),
        colour=np.concatenate([means / [1.3, 1, 1], 0.8 * mean(texture)[:, None]], axis=1).astype(
            np.float32
        ),
        pairs=pairs,
        shared=shared,
        contrast=contrast,
        difference=np.linalg.norm(means[pairs[:, 0]] - means[pairs[:, 1]], axis=1).astype(
            np.float32
        ),
    )
