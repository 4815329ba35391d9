"""Segment Any RGBD's vote: proposals on the photograph or on rendered depth, with its constants.

Cen, Wu et al., "SAD: Segment Any RGBD", 2023 (arXiv 2305.14207; github.com/Jun-CEN/SegmentAnyRGBD).
The class map that is voted on is OVSeg's there (``ovseg.py``) and the coarse map here.
"""

from __future__ import annotations

from typing import Literal

from uosam.labels import check_label_map
from uosam.stages.global_region import GlobalRegionOptions, check_guide, propose
from uosam.stages.proposals import grid_points
from uosam.stages.votes import vote
from uosam.structures import Backend, Guide, Image, LabelMap

SMALLEST = 100
"""Pixels of the smallest proposal."""


def refine_sad(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    *,
    background: int | None = 0,
    guide: Guide | None = None,
    grid: int = 64,
    min_score: float = 0.5,
    min_stability: float = 0.8,
    uncovered: Literal["keep", "ignore"] = "keep",
) -> LabelMap:
    """Let proposals on the guide, or without one on the photograph, vote on the coarse labels.

    The program also removes small parts and holes of proposals, which is left out.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE does not vote and stays where it is.
        backend: proposes.
        background: id that is no object, or None; it votes like any label.
        guide: rendered depth; as published its holes count as picture, and are not looked at.
        grid: points along each side of the picture, at least 1.
        min_score: least estimate of a proposal's IoU: 0.5 for ScanNet, 0.8 for SAIL-VOS 3D.
        min_stability: least stability of a proposal, in [0, 1].
        uncovered: "ignore" is published for depth of ScanNet, "keep" for all else.

    Returns:
        (H, W) labels; smaller proposals overwrite larger ones.

    Raises:
        InputError: ``coarse`` is not int32 (H, W), or it or the guide differs in size from
            ``image``.
    """
    hw = (image.shape[0], image.shape[1])
    check_label_map(coarse, hw)
    options = GlobalRegionOptions(
        grid=grid,
        min_score=min_score,
        min_stability=min_stability,
        min_area=min(1.0, SMALLEST / coarse.size),
        min_purity=0.0,
        background_votes=True,
        protect=False,
        uncovered=uncovered,
    )
    check_guide(guide, hw, options)
    embedding = backend.embed(image if guide is None else guide.image)
    masks, _ = propose(grid_points(hw, grid), embedding, backend, options)
    return vote(coarse, masks, options, background)
