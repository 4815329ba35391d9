"""Estimate the IoU of a mask with the object that was meant.

A linear model for each kind of mask, over what can be seen without ground truth; coefficients from
``benchmarks/fit_graphcut.py``.
"""

from __future__ import annotations

import cv2
import numpy as np

from uosam.structures import Floats, Mask

KINDS = ("as asked", "cautious", "generous")
"""Where a mask comes from; each kind has a model of its own."""
_BAND = 15  # side, in pixels, of the window around an outline


def mask_evidence(mask: Mask, asked: Mask, probability: Floats, gradients: Floats) -> Floats:
    """Describe a mask for the quality model.

    Args:
        mask: (h, w), not empty.
        asked: (h, w) the prompt's own mask.
        probability: (h, w) that a pixel belongs to the object.
        gradients: (h, w) from ``uosam.labels.colour_gradient``.

    Returns:
        (7,): expected IoU under ``probability``, IoU with ``asked``, log contrast of the outline
        against its surroundings, sureness there, share of the probable object inside, log
        contrast of the outline, and its length against the mask's size.
    """
    inside = np.count_nonzero(mask)
    overlap = float(probability[mask].sum())
    total = float(probability.sum())
    outline = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    band = cv2.dilate(outline, np.ones((_BAND, _BAND), np.uint8)) > 0
    edge, near, sure = 0.0, 0.0, 1.0
    if band.any():
        edge = float(gradients[outline > 0].mean())
        near = float(gradients[band].mean())
        sure = 2 * float(np.abs(probability[band] - 0.5).mean())
    either = np.count_nonzero(mask | asked)
    return np.array(
        [
            overlap / max(1e-6, inside + total - overlap),
            np.count_nonzero(mask & asked) / either,
            np.log((edge + 3) / (near + 3)),
            sure,
            overlap / max(1e-6, total),
            np.log((edge + 3) / 30),
            np.count_nonzero(outline) / np.sqrt(inside) / 10,
        ],
        np.float32,
    )
