"""Coarse shapes as mask prompts: logits on the grid of a segmenter's own answers."""

from __future__ import annotations

import cv2
import numpy as np

from uosam.labels import signed_distance, to_grid
from uosam.structures import LOGIT_SCALE, Embedding, Floats, LabelMap, Mask


def soft_mask(probability: Floats, embedding: Embedding, strength: float) -> Floats:
    """Turn a mask, or the probability of a class, into a mask prompt.

    Args:
        probability: (H, W) in [0, 1].
        embedding: gives the logit grid.
        strength: bound of the logits.

    Returns:
        (4h, 4w) log odds within plus and minus ``strength``; cells outside the picture are
        surely not the object.
    """
    share = to_grid(probability, embedding, scale=LOGIT_SCALE)
    limit = 1 / (1 + np.exp(-strength))
    share = np.clip(share, 1 - limit, limit)
    return np.asarray(np.log(share / (1 - share)), np.float32)


def distance_mask(mask: Mask, embedding: Embedding, strength: float, reach: float) -> Floats:
    """Turn a mask into a mask prompt that is less sure the nearer the outline is.

    Args:
        mask: (H, W).
        embedding: gives the logit grid.
        strength: bound of the logits.
        reach: pixels from the outline at which the bound is met, above 0.

    Returns:
        (4h, 4w) logits within plus and minus ``strength``, linear in the distance from the
        outline; cells outside the picture are surely not the object.
    """
    sure = np.clip(signed_distance(mask) / reach, -1, 1)
    # Shifted so that what lies outside the picture, where the grid is 0, is surely outside.
    return np.asarray((to_grid(sure + 1, embedding, scale=LOGIT_SCALE) - 1) * strength, np.float32)


def mask_prompt(
    coarse: LabelMap,
    label: int,
    mask: Mask,
    embedding: Embedding,
    *,
    strength: float,
    reach: float,
    scores: Floats | None = None,
) -> Floats:
    """Make the mask prompt of one object: from its class scores, or else from its shape.

    Args:
        coarse: (H, W) labels.
        label: class of the object.
        mask: (H, W) the object, all or part of that class.
        embedding: gives the logit grid.
        strength: bound of the logits.
        reach: pixels from the outline at which the bound is met; 0 makes all cells sure.
        scores: (C, h, w) class probabilities, channel = id, at any resolution.

    Returns:
        (4h, 4w) logits within plus and minus ``strength``.
    """
    height, width = embedding.image_hw
    if scores is not None and label < len(scores):
        channel = cv2.resize(scores[label], (width, height))
        # A part's own probability: another part of the class is not this object.
        apart = signed_distance((coarse == label) & ~mask) > 0
        probability = np.where(apart, 0, np.clip(channel, 0, 1)).astype(np.float32)
        return soft_mask(probability, embedding, strength)
    if reach:
        return distance_mask(mask, embedding, strength, reach)
    return soft_mask(mask.astype(np.float32), embedding, strength)
