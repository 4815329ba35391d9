"""Coarse shapes as mask prompts: logits on the grid of a segmenter's own answers."""

from __future__ import annotations

import cv2
import numpy as np

from uosam.labels import near_distance, to_grid
from uosam.structures import LOGIT_SCALE, Embedding, Floats, LabelMap, Mask

_LEAST = 1e-4
"""Probabilities below count as this much: their logarithm would drown all others."""


_SAY = 0.3
"""What class scores say of a mask prompt; the shape says the rest. Half, as it was, did harm."""


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
    sure = near_distance(mask, reach) / np.float32(reach)
    # Shifted so that what lies outside the picture, where the grid is 0, is surely outside.
    return np.asarray((to_grid(sure + 1, embedding, scale=LOGIT_SCALE) - 1) * strength, np.float32)


def score_margin(scores: Floats, label: int, image_hw: tuple[int, int]) -> Floats:
    """Return how much surer a network is of a class than of the best other one.

    Args:
        scores: (C, h, w) class probabilities, channel = id, at any resolution; at least two.
        label: the class.
        image_hw: size of the picture.

    Returns:
        (H, W) log odds against the best other class: positive where the class is the argmax. The
        log odds against all others together would be negative where three classes share a place.

    >>> score_margin(np.array([[[0.4]], [[0.4]], [[0.2]]], np.float32), 1, (1, 1)).tolist()
    [[0.0]]
    """
    logs = np.log(np.maximum(scores, _LEAST))
    own = logs[label].copy()
    logs[label] = -np.inf
    height, width = image_hw
    return np.asarray(cv2.resize(own - logs.max(axis=0), (width, height)), np.float32)


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
    """Make the mask prompt of one object: from its shape and, if there are any, class scores.

    Scores of networks are sure to very different degrees. As they are they made prompts that a
    segmenter took for doubt about the whole object. So they are brought to the strength that the
    shape has on average (a temperature for each object), and then they have a say of ``_SAY``.

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
    if reach:
        shape = distance_mask(mask, embedding, strength, reach)
    else:
        shape = soft_mask(mask.astype(np.float32), embedding, strength)
    if scores is None or label >= len(scores) or len(scores) < 2:
        return shape
    margin = score_margin(scores, label, embedding.image_hw)
    # Another part of the class is not this object.
    apart = (coarse == label) & ~mask
    sure = near_distance(mask, reach) / reach if reach else np.ones_like(margin)
    told = np.abs(margin[~apart]).mean()
    temperature = strength * np.abs(sure[~apart]).mean() / max(float(told), _LEAST)
    margin = np.where(apart, -strength, np.clip(margin * temperature, -strength, strength))
    # Shifted so that what lies outside the picture, where the grid is 0, is surely outside.
    graded = to_grid(margin.astype(np.float32) + strength, embedding, scale=LOGIT_SCALE) - strength
    return np.asarray(_SAY * graded + (1 - _SAY) * shape, np.float32)
