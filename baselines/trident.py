"""Trident's refinement: soft prompts, a gate on the predicted IoU, a merge by probabilities.

Shi, Dong and Xu, "Harnessing Vision Foundation Models for High-Performance, Training-Free
Open-Vocabulary Segmentation", ICCV 2025 (arXiv 2411.09219), section on SAM refinement; constants
are those of the published program.
"""

from __future__ import annotations

import cv2
import numpy as np

from uosam.labels import box, check_label_map, components, from_logits, to_grid
from uosam.structures import (
    IGNORE,
    LOGIT_SCALE,
    Backend,
    Embedding,
    Floats,
    Image,
    LabelMap,
    Mask,
    Prompts,
)


def refine_trident(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    *,
    background: int | None = 0,
    scores: Floats | None = None,
    softness: float = 0.02,
    min_probability: float = 0.1,
    min_area: int = 225,
    strength: float = 0.005,
    min_score: float = 0.9,
) -> LabelMap:
    """Redraw every region the segmenter is sure of, and let probabilities settle the pixels.

    Regions are the components of each label at half size. A region whose redraw is scored
    ``min_score`` or less has no say and keeps its pixels. Any other pixel goes to the label of
    largest evidence, that is probability times sigmoid of the logit, among the redraws that cover
    it; where none does, it keeps its label.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE stays where it is.
        backend: asked for a single mask a region, all regions at once.
        background: taken as every method takes it; the background is redrawn like any label.
        scores: (C, h, w) class probabilities, channel = id. Without them those of a label are its
            mask smoothed, which is ours: with hard masks no object could grow.
        softness: deviation of that smoothing, as a part of the picture's diagonal.
        min_probability: pixels whose largest probability is less belong to no region.
        min_area: smallest region, in pixels at half size.
        strength: logit of a sure cell of the mask prompt. The program's 0.005 suits SAM; a
            segmenter that takes logits at their word needs some units.
        min_score: a redraw counts above this estimate of its IoU.

    Returns:
        (H, W) labels.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    del background
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    chances = _chances(coarse, scores, softness)
    embedding = backend.embed(image)
    sure = np.max([np.zeros(coarse.shape, np.float32), *chances.values()], axis=0)
    regions = _regions(np.where(sure < min_probability, IGNORE, coarse), min_area)
    if not regions:
        return coarse.copy()
    prompts = _prompts(regions, chances, embedding, min_probability, strength)
    found = backend.decode(embedding, prompts, multimask=False)
    accepted = np.flatnonzero(found.scores > min_score)
    free = coarse != IGNORE
    for row in sorted(set(range(len(regions))) - set(found.row[accepted].tolist())):
        label, part = regions[row]
        whole = np.repeat(np.repeat(part, 2, axis=0), 2, axis=1)
        free &= ~whole[: coarse.shape[0], : coarse.shape[1]] | (coarse != label)
    best = np.zeros(coarse.shape, np.float32)
    labels = coarse.copy()
    for index in accepted.tolist():
        label = int(prompts.labels[found.row[index]])
        logits = from_logits(found.logits[index], embedding)
        evidence = np.where(found.masks[index], chances[label] / (1 + np.exp(-logits)), 0)
        taken = (evidence > best) & free
        labels[taken] = label
        best[taken] = evidence[taken]
    return labels


def _chances(coarse: LabelMap, scores: Floats | None, softness: float) -> dict[int, Floats]:
    """Return the (H, W) probability of every label of the map."""
    height, width = coarse.shape
    chances: dict[int, Floats] = {}
    for label in np.unique(coarse[coarse != IGNORE]).tolist():
        if scores is not None and label < len(scores):
            chances[label] = np.asarray(cv2.resize(scores[label], (width, height)), np.float32)
        else:
            mask = (coarse == label).astype(np.float32)
            deviation = max(0.1, softness * float(np.hypot(height, width)))
            chances[label] = np.asarray(cv2.GaussianBlur(mask, (0, 0), deviation), np.float32)
    return chances


def _regions(coarse: LabelMap, min_area: int) -> list[tuple[int, Mask]]:
    """List label and half-size mask of every region that is large enough."""
    half = coarse[::2, ::2]
    return [
        (label, part)
        for label in np.unique(half[half != IGNORE]).tolist()
        for part in components(half == label, min_area)
    ]


def _prompts(
    regions: list[tuple[int, Mask]],
    chances: dict[int, Floats],
    embedding: Embedding,
    min_probability: float,
    strength: float,
) -> Prompts:
    """Ask for every region by its box, its likeliest pixel and the probability of its label."""
    points, boxes, logits = [], [], []
    last = np.array([side - 1 for side in embedding.image_hw[::-1]] * 2, np.float32)
    for label, part in regions:
        chance = chances[label]
        inside = np.where(part, chance[::2, ::2], -1)
        y, x = np.unravel_index(int(inside.argmax()), inside.shape)
        points.append([[2.0 * float(x), 2.0 * float(y)]])
        # A pixel of the half-size map stands for two in each direction.
        boxes.append(np.minimum(2 * box(part) + np.array([0, 0, 1, 1], np.float32), last))
        cells = to_grid(chance, embedding, scale=LOGIT_SCALE)
        logits.append(np.where(cells > min_probability, strength * cells, 0))
    rows = len(regions)
    return Prompts(
        points=np.array(points, np.float32).reshape(rows, 1, 2),
        point_labels=np.ones((rows, 1), np.int8),
        boxes=np.stack(boxes),
        logits=np.stack(logits).astype(np.float32),
        labels=np.array([label for label, _ in regions], np.int32),
    )
