"""Graph cuts: over superpixels for the object, over pixels for its outline."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from uosam.backends.regions import Regions
from uosam.structures import Floats, Image, Mask

BAND = 6.0
"""Pixels on either side of an outline that the pixel cut may move it by."""
_CAPACITY = 100  # scipy's maximum flow wants integers


def cut_regions(
    unary: Floats, regions: Regions, weights: Floats, smoothness: float
) -> NDArray[np.bool_]:
    """Label regions inside or outside at least cost, by maximum flow.

    Source: Boykov and Jolly, "Interactive graph cuts", ICCV 2001, equation 1.

    Args:
        unary: (N,) log odds of "inside" times the pixels of the region.
        regions: of the picture.
        weights: (E,) cost of parting neighbours, from ``affinity``.
        smoothness: weight of those costs against the unary term.

    Returns:
        (N,) inside. A region for which both sides cost the same is outside.
    """
    count = len(regions)
    source, sink = count, count + 1
    first, second = regions.pairs.T
    links = np.rint(smoothness * weights * _CAPACITY).astype(np.int32)
    terminals = np.rint(np.abs(unary) * _CAPACITY).astype(np.int32)
    inside, outside = np.flatnonzero(unary > 0), np.flatnonzero(unary < 0)
    rows = np.concatenate([first, second, np.full(len(inside), source), outside])
    cols = np.concatenate([second, first, inside, np.full(len(outside), sink)])
    data = np.concatenate([links, links, terminals[inside], terminals[outside]])
    graph = csr_matrix((data, (rows, cols)), shape=(count + 2, count + 2))
    residual = graph - maximum_flow(graph, source, sink).flow
    residual.data = (residual.data > 0).astype(np.int32)
    residual.eliminate_zeros()
    reached = np.zeros(count + 2, bool)
    reached[breadth_first_order(residual, source, return_predecessors=False)] = True
    return reached[:count]


def cut_outline(image: Image, mask: Mask) -> Mask:
    """Move a mask's outline by at most ``BAND`` pixels to where the colours part, pixel by pixel.

    Source: GrabCut (Rother, Kolmogorov, Blake, SIGGRAPH 2004), one iteration of OpenCV's.

    Args:
        image: (h, w, 3) RGB.
        mask: (h, w).

    Returns:
        (h, w); ``mask`` itself where there is no outline or no sure pixel on one of its sides.
    """
    side = mask.astype(np.uint8)
    if mask.all() or not mask.any():
        return mask
    depth, gap = (cv2.distanceTransform(s, cv2.DIST_L2, 3) for s in (side, 1 - side))
    distance = np.asarray(depth, np.float32) - np.asarray(gap, np.float32)
    sure = np.where(mask, cv2.GC_FGD, cv2.GC_BGD)
    likely = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    trimap = np.where(np.abs(distance) > BAND, sure, likely).astype(np.uint8)
    near = np.abs(distance) < 3 * BAND
    rows, cols = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    window = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    part = trimap[window].copy()
    if (part & 1).all() or not (part & 1).any():
        return mask
    cv2.setRNGSeed(0)  # the colour models start from k-means
    rest, object_ = np.zeros((1, 65)), np.zeros((1, 65))
    inner = np.ascontiguousarray(image[window])
    cv2.grabCut(inner, part, (0, 0, 1, 1), rest, object_, 1, cv2.GC_INIT_WITH_MASK)
    moved = mask.copy()
    moved[window] = (part & 1) == 1  # foreground codes are the odd ones
    return moved
