"""The guided filter as a refiner: every label's mask is smoothed along the edges of the picture.

He, Sun and Tang, "Guided Image Filtering", TPAMI 35(6), 2013, equations 14 and 15 (colour guide),
used as in its section on guided feathering; on a smaller guide as in He and Sun, "Fast Guided
Filter", 2015.
"""

from __future__ import annotations

import cv2
import numpy as np

from uosam.backends.graphcut.guided import GuidedFilter
from uosam.labels import check_label_map
from uosam.structures import IGNORE, Floats, Image, LabelMap


def refine_guided_filter(
    image: Image, coarse: LabelMap, *, background: int | None = 0, scale: int = 4
) -> LabelMap:
    """Filter the mask of every label and give each pixel the label of largest value.

    The window is nine pixels of a guide that is halved once more. A mask is filtered twice: on a
    guide ``scale`` times smaller, whose window reaches as far as coarse outlines are off, and then
    on the picture itself, which gives the outline back its pixels.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE belongs to no mask and stays where it is.
        background: taken as every method takes it; the background is filtered like any label.
        scale: at 4 the first window spans 72 pixels of the picture; at 1 there is only the second,
            of 18.

    Returns:
        (H, W) labels; of labels equally likely the lower id wins.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    del background
    height, width = image.shape[:2]
    check_label_map(coarse, (height, width))
    ids = np.unique(coarse[coarse != IGNORE])
    if len(ids) < 2:
        return coarse.copy()
    guides = [(image, GuidedFilter(image))]
    if scale > 1:
        small_wh = max(1, width // scale), max(1, height // scale)
        small = np.asarray(cv2.resize(image, small_wh, interpolation=cv2.INTER_AREA))
        guides.insert(0, (small, GuidedFilter(small)))
    best = np.full((height, width), -np.inf, np.float32)
    labels = coarse.copy()
    for label in ids.tolist():
        value = (coarse == label).astype(np.float32)
        for picture, guide in guides:
            wh = picture.shape[1::-1]
            value = guide(cv2.resize(value, wh, interpolation=_kind(value, wh)))
        better = value > best
        labels[better] = label
        best[better] = value[better]
    labels[coarse == IGNORE] = IGNORE
    return labels


def _kind(value: Floats, wh: tuple[int, int]) -> int:
    """Return the interpolation that fits: averages on the way down, lines on the way up."""
    return cv2.INTER_AREA if wh[0] < value.shape[1] else cv2.INTER_LINEAR
