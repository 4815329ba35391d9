"""SEPL's rules for merging segments into pseudo-labels: max-IoU and its two variants.

Chen et al., "Segment Anything Model (SAM) Enhanced Pseudo Labels for Weakly Supervised Semantic
Segmentation", NeurIPS workshop 2023 (arXiv 2305.05803), section 3; the variants are those of its
published program, whose default is the last.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from uosam.errors import ConfigError
from uosam.labels import areas, check_label_map
from uosam.stages.global_region import propose
from uosam.stages.proposals import grid_points
from uosam.structures import IGNORE, Backend, Image, LabelMap, Masks

from .proposal_vote import segment_options

Rule = Literal["max_iou", "max_iou_imp", "max_iou_imp2"]

PURITY, COVERAGE = 0.5, 0.85


def refine_pseudo_label_merge(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    *,
    background: int | None = 0,
    rule: Rule = "max_iou_imp2",
    grid: int = 32,
    min_score: float = 0.86,
    min_stability: float = 0.92,
) -> LabelMap:
    """Replace every object by the segments that belong to it.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE stays where it is.
        backend: proposes the segments.
        background: id that is no object; None if every id is one, and then a pixel that no object
            takes keeps its label.
        rule: as in ``merge_segments``.
        grid: points along each side of the picture, at least 1.
        min_score: least estimate of a segment's IoU, in [0, 1].
        min_stability: least stability of a segment, in [0, 1].

    Returns:
        (H, W) labels.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
        ConfigError: the rule is none of the three.
    """
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    options = segment_options(image, grid, min_score, min_stability)
    embedding = backend.embed(image)
    masks, _ = propose(grid_points(embedding.image_hw, grid), embedding, backend, options)
    return merge_segments(coarse, masks, rule, background)


def merge_segments(coarse: LabelMap, masks: Masks, rule: Rule, background: int | None) -> LabelMap:
    """Unite for every object the segments that lie in it, objects in the order of their ids.

    "max_iou" takes segments of which more than half is the object, and nothing else.
    "max_iou_imp" also keeps the object's pixels that no segment covers. "max_iou_imp2" takes
    segments, too, that cover 85 % of the object or more; a segment goes to the first object that
    takes it, and as in the program no longer counts as covering for those after it.

    Args:
        coarse: (H, W) labels.
        masks: (M, H, W) segments.
        rule: one of the three.
        background: id that is no object, or None.

    Returns:
        (H, W) labels; where two objects take a pixel the higher id has it.

    Raises:
        ConfigError: the rule is none of the three.
    """
    if rule not in get_args(Rule):
        raise ConfigError(f"rule must be one of {', '.join(get_args(Rule))}, got {rule!r}")
    labels = coarse.copy()
    objects = {label: area for label, area in areas(coarse).items() if label != background}
    if background is not None:
        labels[np.isin(coarse, list(objects))] = background
    sizes = masks.sum(axis=(1, 2))
    free = np.ones(len(masks), bool)
    for label, area in objects.items():
        inside = coarse == label
        shared = (masks & inside).sum(axis=(1, 2))
        taken = shared > PURITY * sizes
        if rule == "max_iou_imp2":
            taken |= shared >= COVERAGE * area
        taken &= free
        union = masks[taken].any(axis=0)
        if rule != "max_iou":
            union |= inside & ~masks[free].any(axis=0)
        if rule == "max_iou_imp2":
            free &= ~taken
        labels[union] = label
    labels[coarse == IGNORE] = IGNORE
    return labels
