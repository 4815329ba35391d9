"""The published UO-SAM procedure, repaired where its script cannot run as the paper means it.

NUST Machine Intelligence Laboratory, "UO-SAM", ICME 2024 (arXiv 2405.11742), section 3: foreground
features and location confidence map (FFE, LCM), largest component (LCC), cascaded refinement (CR),
image-wide segmentation and category voting (IWS, CVM). ``configs/paper.yaml`` holds its constants
and says what was repaired.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from uosam.config import load_config
from uosam.pipeline import RefineOptions, refine
from uosam.structures import Backend, Image, LabelMap


@cache
def _options() -> RefineOptions:
    return load_config("paper").refine


def refine_paper(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    *,
    background: int | None = 0,
    grid: int | None = None,
) -> LabelMap:
    """Refine as the paper does, with any segmenter.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels; IGNORE stays where it is.
        backend: the paper takes SAM ViT-H and MobileSAM.
        background: id that is no object, or None.
        grid: points along each side in the global stage; None takes the paper's 64, 0 leaves it
            out.

    Returns:
        (H, W) labels.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    options = _options()
    if grid is not None:
        options = replace(options, global_region=replace(options.global_region, grid=grid))
    return refine(image, coarse, backend, options, background=background).labels
