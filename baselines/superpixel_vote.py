"""A majority vote within superpixels: colour edges without a model of objects.

Superpixels are SLIC's (Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel
Methods", TPAMI 34(11), 2012, algorithm 1), as scikit-image implements it.
"""

from __future__ import annotations

import numpy as np
from skimage.segmentation import slic

from uosam.labels import check_label_map
from uosam.structures import IGNORE, Image, LabelMap


def refine_superpixel_vote(
    image: Image,
    coarse: LabelMap,
    *,
    background: int | None = 0,
    segments: int = 400,
    compactness: float = 10.0,
) -> LabelMap:
    """Give every superpixel the label most frequent inside it.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE does not vote and stays where it is.
        background: taken as every method takes it; the background votes like any label.
        segments: superpixels aimed at, at least 1.
        compactness: weight of nearness against colour (m in equation 3).

    Returns:
        (H, W) labels; of labels equally frequent in a superpixel the lower id wins.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    del background
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    known = coarse != IGNORE
    labels = coarse.copy()
    if not known.any():
        return labels
    # Unlike the mask option of slic, this leaves the superpixels to the picture alone.
    cells = slic(image, n_segments=segments, compactness=compactness, start_label=0)
    ids, index = np.unique(coarse[known], return_inverse=True)
    votes = np.zeros((int(cells.max()) + 1, len(ids)), np.int64)
    np.add.at(votes, (cells[known], index), 1)
    labels[known] = ids[votes.argmax(axis=1)][cells[known]]
    return labels
