"""Everything mode: all masks of a picture, by asking a segmenter for a grid of points.

The procedure of SAM's mask generator (Kirillov et al., "Segment Anything", 2023, appendix B), for
every backend: crops, thresholds, duplicates, small regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError
from uosam.labels import without_small_regions
from uosam.stages.levels import check_levels
from uosam.stages.proposals import point_prompts, suppress
from uosam.stages.segments import (
    Box,
    Segment,
    crop_boxes,
    is_cut,
    shrunk,
    suppress_boxes,
    tight_box,
)
from uosam.structures import LOGIT_SCALE, Backend, Embedding, Image, Mask, Proposals

MIN_SCORE = 0.88
"""Least estimate of a mask's IoU in SAM's generator."""
_FINER = 4  # SAM brings its masks to the size of the network's input first
_OFFSET = 1.0  # logits of SAM's stability score
_NEARLY = 0.1  # on the logit grid a mask may be this much less stable than at full size


@dataclass(frozen=True, kw_only=True)
class EverythingOptions:
    """Where points are asked, and which answers are kept.

    Attributes:
        grid: points along each side of the picture.
        levels: levels of granularity asked for, 1 whole to 6 smallest part, rising; () lets the
            segmenter choose.
        min_score: least estimate of a mask's IoU, in [0, 1]; None takes that of SAM's generator.
        min_stability: least stability of a mask, in [0, 1].
        stability: whether stability is taken on the "grid" of the logits, or at the size of the
            "picture", as SAM's generator does; that takes longer.
        duplicates: whether masks are repeats by the IoU of the "masks" themselves or of their
            "boxes", as SAM's generator does, which takes a part for a repeat of a whole that has
            the same box.
        max_overlap: of two masks whose IoU is above this, the better scored stays, in [0, 1].
        min_area: smallest mask, as a share of the picture.
        max_area: largest mask, as a share of the picture.
        min_region: holes and parts of fewer pixels are filled and removed; 0 leaves masks alone.
        crops: layers of crops that are asked besides the whole, the first of 2 x 2, the next of
            4 x 4; each is encoded by itself.
        crop_overlap: of neighbouring crops, as a share of the picture's short side.
        crop_divisor: the grid of a layer has this many times fewer points a side than the one
            before, at least 1.
    """

    grid: int = 32
    levels: tuple[int, ...] = ()
    min_score: float | None = None
    min_stability: float = 0.95
    stability: Literal["grid", "picture"] = "grid"
    duplicates: Literal["masks", "boxes"] = "masks"
    max_overlap: float = 0.7
    min_area: float = 0.0
    max_area: float = 1.0
    min_region: int = 0
    crops: int = 0
    crop_overlap: float = 512 / 1500
    crop_divisor: int = 1

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share lies outside [0, 1], a count is too small, or a word is unknown.
        """
        check_levels(self.levels, "everything.levels")
        for name in (
            *("min_score", "min_stability", "max_overlap", "min_area", "max_area"),
            "crop_overlap",
        ):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise ConfigError(f"everything.{name} must be in [0, 1], got {getattr(self, name)}")
        for name, least in (("grid", 1), ("min_region", 0), ("crops", 0), ("crop_divisor", 1)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"everything.{name} must be at least {least}, got {getattr(self, name)}"
                )
        for name, offered in (
            ("stability", ("grid", "picture")),
            ("duplicates", ("masks", "boxes")),
        ):
            if getattr(self, name) not in offered:
                raise ConfigError(
                    f"everything.{name} must be {' or '.join(offered)}, got {getattr(self, name)!r}"
                )


def find_everything(
    image: Image,
    backend: Backend,
    options: EverythingOptions,
    *,
    whole: Embedding | None = None,
) -> list[Segment]:
    """Find all masks of a picture.

    Args:
        image: (H, W, 3) RGB.
        backend: any segmenter.
        options: where and what.
        whole: embedding of the picture, where there is one already; crops are encoded in any case.

    Returns:
        Masks in falling order of score; with crops, those of small crops first.
    """
    hw = (image.shape[0], image.shape[1])
    crops = list(crop_boxes(hw, options.crops, options.crop_overlap))
    found: list[Segment] = []
    for layer, crop in crops:
        x0, y0, x1, y1 = crop
        if layer == 0 and whole is not None:
            embedding = whole
        else:
            embedding = backend.embed(np.ascontiguousarray(image[y0:y1, x0:x1]))
        side = max(1, int(options.grid / options.crop_divisor**layer))
        inside = list(_ask(embedding, backend, options, side, crop, hw))
        found += _without_repeats(inside, [one.score for one in inside], options)
    if len(crops) > 1:
        sizes = [1 / ((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in (one.crop for one in found)]
        found = _without_repeats(found, sizes, options)
    if options.min_region > 1:
        found = _without_small_regions(found, options)
    least, most = (share * hw[0] * hw[1] for share in (options.min_area, options.max_area))
    return [one for one in found if least <= np.count_nonzero(one.mask) <= most]


def _ask(
    embedding: Embedding,
    backend: Backend,
    options: EverythingOptions,
    side: int,
    crop: Box,
    hw: tuple[int, int],
) -> Iterator[Segment]:
    """Ask a grid of points of a crop, and yield what passes the thresholds."""
    height, width = embedding.image_hw
    steps = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(steps * width, steps * height)
    # SAM's generator gives these to its predictor, which takes an integer for a pixel's centre.
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    least = MIN_SCORE if options.min_score is None else options.min_score
    exact = options.stability == "picture"
    rough = max(0.0, options.min_stability - _NEARLY) if exact else options.min_stability
    start = 0
    for prompts in point_prompts(points.astype(np.float32), options.levels):
        answers = backend.decode(embedding, prompts, min_score=least, min_stability=rough)
        for index in range(len(answers)):
            mask, stable = answers.masks[index], float(answers.stability[index])
            if exact:
                stable = _stability(answers, index, embedding)
            segment = _segment(answers, index, stable, mask, points[start:], crop, hw)
            if stable >= options.min_stability and not is_cut(segment.box, crop, hw):
                yield segment
        start += len(prompts)


def _segment(
    answers: Proposals,
    index: int,
    stable: float,
    mask: Mask,
    points: NDArray[np.float64],
    crop: Box,
    hw: tuple[int, int],
) -> Segment:
    x0, y0, x1, y1 = crop
    whole = mask
    if mask.shape != hw:
        whole = np.zeros(hw, bool)
        whole[y0:y1, x0:x1] = mask
    x, y = points[int(answers.row[index])].tolist()
    return Segment(
        bits=np.packbits(whole),
        hw=hw,
        box=tight_box(whole),
        score=float(answers.scores[index]),
        stability=stable,
        level=int(answers.level[index]),
        point=(x + x0, y + y0),
        crop=crop,
    )


def _stability(answers: Proposals, index: int, embedding: Embedding) -> float:
    """Take SAM's stability score at the size of the picture, by way of four times the grid."""
    grid = answers.logits[index]
    height, width = grid.shape
    rows, cols = (max(1, round(side * LOGIT_SCALE * _FINER)) for side in embedding.extent)
    fine = cv2.resize(grid, (width * _FINER, height * _FINER))[:rows, :cols]
    logits = cv2.resize(fine, embedding.image_hw[::-1])
    outer = np.count_nonzero(logits > -_OFFSET)
    return float(np.count_nonzero(logits > _OFFSET) / outer) if outer else 0.0


def _without_repeats(
    segments: Sequence[Segment], values: Sequence[float], options: EverythingOptions
) -> list[Segment]:
    """Keep the best of those that are alike, best first."""
    worth = np.array(values, np.float32)
    if options.duplicates == "boxes":
        boxes = [one.box for one in segments]
        kept = suppress_boxes(boxes, worth, options.max_overlap)
    else:
        small = np.array([shrunk(one.mask) for one in segments], bool)
        kept = suppress(small, worth, options.max_overlap) if len(small) else np.zeros(0, np.int64)
    return [segments[index] for index in kept]


def _without_small_regions(
    segments: Sequence[Segment], options: EverythingOptions
) -> list[Segment]:
    """Clean masks, and drop the repeats this makes; masks that were clean are preferred."""
    cleaned, untouched = [], []
    for one in segments:
        mask = one.mask
        clean = without_small_regions(mask, options.min_region)
        same = np.array_equal(mask, clean)
        cleaned.append(one if same else replace(one, bits=np.packbits(clean), box=tight_box(clean)))
        untouched.append(float(same))
    return _without_repeats(cleaned, untouched, options)
