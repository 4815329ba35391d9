"""The published UO-SAM script's way of computing, for comparing speed; results as in ``paper``.

NUST Machine Intelligence Laboratory, "UO-SAM", ICME 2024 (arXiv 2405.11742), and its program: every
object encodes the picture twice and is decoded alone, twice; the picture is then searched by the
automatic generator of the segment-anything package, itself and four crops of it. What stops the
program from running is repaired as ``configs/paper.yaml`` says. Written anew from a description of
what it does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from segment_anything import SamAutomaticMaskGenerator, SamPredictor

from uosam.backends.sam.backend import SamBackend
from uosam.config import load_config
from uosam.labels import box, check_label_map
from uosam.pipeline import RefineOptions
from uosam.stages.merge import merge
from uosam.stages.prompts import make_prompts, object_masks
from uosam.stages.redraw import Candidate, unite
from uosam.stages.verdict import decide
from uosam.stages.votes import vote
from uosam.structures import IGNORE, Embedding, Image, LabelMap, Mask, Masks, Prompts

from .proposal_vote import SMALLEST

_CROP_DOWNSCALE = 2  # a crop is searched at half as many points a side


@cache
def _options() -> RefineOptions:
    return load_config("paper").refine


def refine_paper_script(
    image: Image,
    coarse: LabelMap,
    backend: SamBackend,
    *,
    background: int | None = 0,
    grid: int = 64,
    crop_layers: int = 1,
    reload: Callable[[], Any] | None = None,
) -> LabelMap:
    """Refine step by step as the published program does, on the backend's bare network.

    It computes in float32 whatever the backend's precision. The program writes the masks of the
    search in COCO's run lengths and reads them again; here the generator's own run lengths are
    used, which needs no further package.

    Args:
        image: (H, W, 3) RGB; encoded twice for each object, and 1 + 4 times for the search.
        coarse: (H, W) labels; IGNORE stays where it is.
        backend: its network is used, not its way of using it.
        background: id that is no object, or None.
        grid: points along each side in the search; 0 leaves it out.
        crop_layers: 1 also searches four crops at half the points a side; 0 the picture alone.
        reload: builds the network anew from its file; called as often as the program does, before
            each object and before the search. None uses the network as it is.

    Returns:
        (H, W) labels.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    network = reload or (lambda: backend.sam)
    local = _redraw_objects(image, coarse, network, background)
    if grid == 0:
        return local
    masks = _search(image, network(), grid, crop_layers)
    voted = vote(local, masks, _options().global_region, background)
    known = voted[voted != IGNORE]
    return local if len(known) and (known == known[0]).all() else voted


def _redraw_objects(
    image: Image, coarse: LabelMap, network: Callable[[], Any], background: int | None
) -> LabelMap:
    """Redraw the objects one after the other, and paint those that pass the paper's test."""
    options = _options()
    labels: list[int] = []
    chosen: dict[int, Candidate] = {}
    for label, mask in object_masks(coarse, options.prompts, background):
        predictor = SamPredictor(network())
        predictor.set_image(image)
        embedding = _embedding(predictor)
        alone = np.where(mask, label, IGNORE).astype(np.int32)
        prompts = make_prompts(alone, embedding, options.prompts, background=background)
        predictor.set_image(image)
        found = _cascade(predictor, prompts, mask)
        if found is not None:
            chosen[len(labels)] = found
        labels.append(label)
    if not chosen:
        return coarse.copy()
    redraws = unite(chosen, labels, embedding)
    asked = Prompts(
        points=np.zeros((len(labels), 0, 2), np.float32),
        point_labels=np.zeros((len(labels), 0), np.int8),
        labels=np.array(labels, np.int32),
    )
    accepted = {
        choice.label: choice.accepted
        for choice in decide(coarse, asked, redraws, options.local_region)
    }
    taken = np.array([accepted[label] for label in redraws.labels.tolist()], bool)
    return merge(coarse, redraws, taken, embedding, background, options.local_region.merge)


def _cascade(predictor: SamPredictor, prompts: Prompts, coarse: Mask) -> Candidate | None:
    """Decode one object, then again with its best mask; None if there is nothing in it."""
    assert prompts.boxes is not None
    points, kinds = prompts.points[0], prompts.point_labels[0]
    masks, scores, logits = predictor.predict(points, kinds, prompts.boxes[0])
    scores = np.where(masks.any((1, 2)), scores.clip(0, 1), -1)
    best = int(scores.argmax())
    if scores[best] < 0:
        return None
    again = predictor.predict(points, kinds, box(masks[best]), logits[best, None], False)
    if again[0][0].any():
        masks, scores, logits, best = *again, 0
    return Candidate(
        mask=masks[best],
        logits=logits[best],
        score=float(np.clip(scores[best], 0, 1)),
        changed=True,
    )


def _embedding(predictor: SamPredictor) -> Embedding:
    """Return the features of the predictor's picture as the stages take them."""
    features = predictor.get_image_embedding()[0].numpy(force=True)
    stride = predictor.model.image_encoder.img_size / features.shape[-1]
    rows, cols = predictor.input_size
    return Embedding(
        features=features,
        extent=(rows / stride, cols / stride),
        image_hw=predictor.original_size,
    )


class _Generator(SamAutomaticMaskGenerator):
    """The package's generator, which fails where neither picture nor crops have a single mask."""

    def _process_crop(self, *arguments: Any) -> Any:
        found = super()._process_crop(*arguments)
        found["crop_boxes"] = found["crop_boxes"].reshape(-1, 4)
        return found


def _search(image: Image, network: Any, grid: int, crop_layers: int) -> Masks:
    """Search the picture with the package's generator; (M, H, W)."""
    options = _options().global_region
    generator = _Generator(
        network,
        points_per_side=grid,
        pred_iou_thresh=options.min_score,
        stability_score_thresh=options.min_stability,
        crop_n_layers=crop_layers,
        crop_n_points_downscale_factor=_CROP_DOWNSCALE,
        min_mask_region_area=SMALLEST,
    )
    found = [segment["segmentation"] for segment in generator.generate(image)]
    return np.reshape(found, (-1, *image.shape[:2])).astype(bool)
