"""GrabCut seeded from the coarse mask: the plain way to sharpen masks without a network.

Rother, Kolmogorov and Blake, "GrabCut: Interactive Foreground Extraction using Iterated Graph
Cuts", ACM Transactions on Graphics 23(3), 2004, as OpenCV implements it.
"""

from __future__ import annotations

import cv2
import numpy as np

from uosam.labels import areas, check_label_map
from uosam.structures import IGNORE, Image, LabelMap

SMALLEST = 50
"""Pixels below which the two colour models of GrabCut, five Gaussians each, mean nothing."""


def refine_grabcut(
    image: Image,
    coarse: LabelMap,
    *,
    background: int | None = 0,
    iterations: int = 5,
    rim: float = 0.1,
) -> LabelMap:
    """Redraw each object of a coarse map with GrabCut, largest first, at full resolution.

    An object eroded by an ellipse is surely inside, the rest of it probably; what two dilations
    add is probably outside, and all else surely. A smaller object overwrites a larger one.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE stays where it is.
        background: id that is no object; None if every id is one, and then a pixel that its object
            loses keeps its label unless another object takes it.
        iterations: of colour models and cut, at least 1.
        rim: diameter of the ellipse, as a part of the square root of the object's area.

    Returns:
        (H, W) labels. Objects below 50 pixels, and those that leave GrabCut nothing outside, stay
        as they are.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    bgr = np.ascontiguousarray(image[..., ::-1])
    labels = coarse.copy()
    sizes = {label: area for label, area in areas(coarse).items() if label != background}
    for label, area in sorted(sizes.items(), key=lambda item: -item[1]):
        if area < SMALLEST:
            continue
        inside = (coarse == label).astype(np.uint8)
        side = max(3, int(rim * np.sqrt(area))) | 1
        ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        trimap = np.full(coarse.shape, cv2.GC_BGD, np.uint8)
        trimap[cv2.dilate(inside, ellipse, iterations=2) > 0] = cv2.GC_PR_BGD
        trimap[inside > 0] = cv2.GC_PR_FGD
        trimap[cv2.erode(inside, ellipse) > 0] = cv2.GC_FGD
        if np.isin(trimap, [cv2.GC_FGD, cv2.GC_PR_FGD]).all():
            continue
        cv2.setRNGSeed(0)  # OpenCV draws the first centres of its colour models
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(bgr, trimap, None, *models, iterations, cv2.GC_INIT_WITH_MASK)
        redrawn = np.isin(trimap, [cv2.GC_FGD, cv2.GC_PR_FGD])
        if background is not None:
            labels[(labels == label) & ~redrawn] = background
        labels[redrawn] = label
    labels[coarse == IGNORE] = IGNORE
    return labels
