"""The published ways to ask Semantic-SAM, for comparing with its public code.

Frame and thresholds are as published: masks have the size of the network's input, scores are raw
(an estimate of Dice). Repaired are what were faults: clicks do not see each other, where no mask of
a click is good enough the best one is kept and not the worst, and masks that repeat each other are
found by their own IoU, not by that of their boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from uosam.backends.batching import stability
from uosam.backends.semantic_sam.backend import SemanticSamBackend, State
from uosam.backends.semantic_sam.choice import MOST_ALIKE
from uosam.backends.semantic_sam.clicks import TOKENS
from uosam.backends.semantic_sam.input import padded_hw
from uosam.structures import Embedding, Floats, Masks

_CLICKS = 64  # answered at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class Answers:
    """M masks in the frame of the network's input.

    Attributes:
        masks: (M, h, w).
        scores: (M,) raw.
        stability: (M,) in [0, 1].
        level: (M,) 1 to 6.
        click: (M,) which of the clicks each answers.
    """

    masks: Masks
    scores: Floats
    stability: Floats
    level: NDArray[np.int8]
    click: NDArray[np.int64]


@torch.inference_mode()
def answer(backend: SemanticSamBackend, embedding: Embedding, clicks: Floats) -> Answers:
    """Answer clicks with all six masks each, none dropped.

    Args:
        backend: that made ``embedding``.
        embedding: of the picture.
        clicks: (B, 2) x, y as shares of the picture.

    Returns:
        6 B masks, in order of click and then of level.
    """
    state: State = embedding.state
    height, width = state.hw
    masks, scores, steadiness = [], [], []
    for start in range(0, len(clicks), _CLICKS):
        low, raw = backend.click(embedding, clicks[start : start + _CLICKS])
        logits = F.interpolate(low, padded_hw(state.hw), mode="bilinear", align_corners=False)
        logits = logits[..., :height, :width].flatten(0, 1)
        masks.append((logits > 0).cpu().numpy())
        scores.append(raw.flatten().cpu().numpy())
        steadiness.append(stability(logits, 1, 1).cpu().numpy())
    return Answers(
        masks=np.concatenate(masks),
        scores=np.concatenate(scores),
        stability=np.concatenate(steadiness),
        level=np.tile(np.arange(1, TOKENS + 1, dtype=np.int8), len(clicks)),
        click=np.repeat(np.arange(len(clicks)), TOKENS),
    )


def predict(
    found: Answers, *, min_score: float = 0.5, hole: int = 100, island: int = 100
) -> tuple[Masks, list[int]]:
    """Keep the masks of one click as the public predictor does.

    Scores are rounded to two decimals before they are held against the threshold; a mask whose IoU
    with a kept one is above 0.95 goes; where all fail the best stays (as published: the last).

    Args:
        found: of a single click.
        min_score: least rounded score.
        hole: holes of fewer pixels are filled.
        island: parts of fewer pixels go.

    Returns:
        (M, h, w) cleaned masks, best first, and their indices in ``found``.
    """
    kept: list[int] = []
    order = np.argsort(-found.scores, kind="stable").tolist()
    for index in order:
        mask = found.masks[index]
        alike = [_iou(mask, found.masks[other]) > MOST_ALIKE for other in kept]
        if round(float(found.scores[index]), 2) >= min_score and not any(alike):
            kept.append(index)
    kept = kept or order[:1]
    return np.stack([clean(found.masks[index], hole, island) for index in kept]), kept


def generate(
    backend: SemanticSamBackend,
    embedding: Embedding,
    clicks: Floats,
    *,
    levels: Sequence[int] = (1, 2, 3, 4, 5, 6),
    min_score: float = 0.88,
    min_stability: float = 0.92,
    smallest: int = 10,
) -> Answers:
    """Answer a grid of clicks as the public mask generator does, without its suppression by boxes.

    Args:
        backend: that made ``embedding``.
        embedding: of the picture.
        clicks: (B, 2) x, y as shares of the picture.
        levels: of the masks that are kept.
        min_score: a raw score must be above this.
        min_stability: least stability.
        smallest: holes of fewer pixels are filled, parts of fewer go.

    Returns:
        Masks in falling order of score.
    """
    found = answer(backend, embedding, clicks)
    good = np.isin(found.level, levels) & (found.scores > min_score)
    good &= found.stability >= min_stability
    order = np.flatnonzero(good)
    order = order[np.argsort(-found.scores[order], kind="stable")]
    cleaned = [clean(found.masks[index], smallest, smallest) for index in order]
    return Answers(
        masks=np.reshape(cleaned, (-1, *found.masks.shape[1:])).astype(bool),
        scores=found.scores[order],
        stability=found.stability[order],
        level=found.level[order],
        click=found.click[order],
    )


def _iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    either = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / either if either else 1.0


def clean(mask: NDArray[np.bool_], hole: int, island: int) -> NDArray[np.bool_]:
    """Fill small holes, then drop small parts; the largest part always stays.

    Args:
        mask: (h, w).
        hole: holes of fewer pixels, corners touching, are filled.
        island: parts of fewer pixels go.
    """
    for inside, least in ((False, hole), (True, island)):
        count, labels, facts, _ = cv2.connectedComponentsWithStats(
            (mask == inside).astype(np.uint8), connectivity=8
        )
        areas = facts[:, cv2.CC_STAT_AREA]
        small = [index for index in range(1, count) if areas[index] < least]
        if inside and len(small) == count - 1 and small:
            small.remove(max(small, key=lambda index: areas[index]))
        mask = np.where(np.isin(labels, small), not inside, mask) if small else mask
    return mask
