"""SSA's semantic vote: segments of the whole picture take the label most frequent inside them.

Chen, Yang and Zhang, "Semantic Segment Anything", 2023 (github.com/fudan-zvg), the "semantic
voting" of its main program, with its constants; UO-SAM (arXiv 2405.11742, section 3.3) took over
both as its global stage.
"""

from __future__ import annotations

from uosam.labels import check_label_map
from uosam.stages.global_region import GlobalRegionOptions, propose
from uosam.stages.proposals import grid_points
from uosam.stages.votes import vote
from uosam.structures import Backend, Image, LabelMap

SMALLEST = 100
"""Pixels of the smallest segment that votes."""


def segment_options(
    image: Image, grid: int, min_score: float, min_stability: float
) -> GlobalRegionOptions:
    """Return SSA's settings of the search for segments; its floor is in pixels, ours a share."""
    return GlobalRegionOptions(
        grid=grid,
        min_score=min_score,
        min_stability=min_stability,
        min_area=min(1.0, SMALLEST / (image.shape[0] * image.shape[1])),
        min_purity=0.0,
        background_votes=True,
        protect=False,
    )


def refine_proposal_vote(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    *,
    background: int | None = 0,
    grid: int = 64,
    min_score: float = 0.86,
    min_stability: float = 0.92,
) -> LabelMap:
    """Let every segment of the picture take its most frequent coarse label, large ones first.

    The program also searches four crops of the picture; here the whole picture is searched.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE does not vote and stays where it is.
        backend: proposes the segments.
        background: id that is no object, or None; it votes like any label.
        grid: points along each side of the picture, at least 1.
        min_score: least estimate of a segment's IoU, in [0, 1].
        min_stability: least stability of a segment, in [0, 1].

    Returns:
        (H, W) labels; pixels of no segment keep theirs, smaller segments overwrite larger ones.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    options = segment_options(image, grid, min_score, min_stability)
    embedding = backend.embed(image)
    masks, _ = propose(grid_points(embedding.image_hw, grid), embedding, backend, options)
    return vote(coarse, masks, options, background)
