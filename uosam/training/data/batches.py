"""Crops and prompts of one step; the same for the same seed and step, whoever prepares them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from uosam.structures import IGNORE, Image, LabelMap, Mask
from uosam.training.data.objects import Asked, draw_masked_objects, draw_plain_objects
from uosam.training.data.pictures import (
    decode_all,
    decode_picture,
    draw_maps,
    find_training_pictures,
)
from uosam.training.data.prompting import Pattern, draw_pattern, draw_points, mask_prompt
from uosam.training.options import TrainOptions

_SQUARE = 512  # side of the network's own square
_STRIDE = 32  # of the USS networks whose masks are imitated
_LARGEST = 1.25  # enlargement of a picture at most, where the crop does not ask for more


class Key(NamedTuple):
    """Which batch: its step, and whether it belongs to the last part of the run."""

    step: int
    last: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """P crops of S x S pixels with K prompts each; the K rows of a crop lie together.

    Attributes:
        step: which step it is for.
        images: (P, S, S, 3) uint8.
        inside: (P, S, S) where the picture is; what lies beyond its edge is padding.
        known: (P, S/2, S/2) 1 where ground truth counts, else 0.
        targets: (PK, S/2, S/2) uint8, share of the object times 255.
        others: the same of another right answer to a click, or None.
        points: (PK, N, 2) x, y in pixels of the crop.
        labels: (PK, N) as in ``draw_points``.
        masks: (PK, S/2, S/2) logits in float16, or None.
        whole: (PK,) bool, whether the mask may be only part of the object, or too large.
        pattern: which prompts they are.
    """

    step: int
    images: torch.Tensor
    inside: torch.Tensor
    known: torch.Tensor
    targets: torch.Tensor
    others: torch.Tensor | None
    points: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor | None
    whole: torch.Tensor
    pattern: Pattern

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU can fetch by itself; torch's loader calls it."""
        pinned = {
            field.name: value.pin_memory()
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor)
        }
        return replace(self, **pinned)  # type: ignore[arg-type]


class Batches(Dataset[Batch]):
    """The batch of every step of a run, by ``Key``."""

    def __init__(self, root: Path, options: TrainOptions) -> None:
        self.options = options
        self.pictures, self.probability = find_training_pictures(root, options)
        self.decoded = decode_all(self.pictures, options.workers + 1) if options.preload else None

    def __getitem__(self, key: Key) -> Batch:
        options = self.options
        step, last = key
        pattern = draw_pattern(np.random.default_rng((options.seed, step)), options.mask_share)
        side = options.final_side if last else options.side
        amount = options.final_pictures if last else options.pictures
        crops = [self._crop(step, index, side, pattern) for index in range(amount)]
        images, inside, known = (
            torch.from_numpy(np.stack([crop[name] for crop in crops]))
            for name in ("image", "inside", "known")
        )
        rows = {
            name: torch.from_numpy(np.concatenate([crop[name] for crop in crops]))
            for name in ("targets", "points", "labels", "whole")
        }
        optional = {
            name: torch.from_numpy(np.concatenate([crop[name] for crop in crops]))
            if name in crops[0]
            else None
            for name in ("masks", "others")
        }
        return Batch(
            step=step,
            images=images,
            inside=inside,
            known=known,
            pattern=pattern,
            **rows,
            **optional,  # type: ignore[arg-type]
        )

    def _crop(self, step: int, index: int, side: int, pattern: Pattern) -> dict[str, np.ndarray]:
        options = self.options
        generator = np.random.default_rng((options.seed, step, index))
        while True:
            chosen = int(generator.choice(len(self.pictures), p=self.probability))
            picture = self.pictures[chosen]
            decoded = self.decoded[chosen] if self.decoded else decode_picture(picture)
            scale = _draw_scale(decoded.image.shape[:2], side, generator)
            two = draw_maps(picture, decoded, generator)
            image, maps, valid = _cut(decoded.image, two, scale, side, generator)
            if pattern.mask:
                objects = draw_masked_objects(
                    maps,
                    generator,
                    options.prompts,
                    stride=_STRIDE * scale,
                    partial_share=options.partial_share,
                    background=picture.background,
                )
            else:
                objects = draw_plain_objects(
                    maps, generator, options.prompts, background=picture.background
                )
            if objects:
                break
        known = maps[0] != IGNORE
        if generator.random() < 0.5:
            image, known = image[:, ::-1], known[:, ::-1]
            objects = [_mirrored(asked) for asked in objects]
        drawn = [draw_points(asked, pattern, generator) for asked in objects]
        padded = np.zeros((side, side, 3), np.uint8)
        padded[: valid[0], : valid[1]] = _recolour(image, generator)
        inside = np.zeros((side, side), bool)
        inside[: valid[0], : valid[1]] = True
        crop = {
            "image": padded,
            "inside": inside,
            "known": (_pad_half(known, side) > 127).astype(np.uint8),
            "targets": np.stack([_pad_half(asked.target, side) for asked in objects]),
            "points": np.stack([points for points, _ in drawn]),
            "labels": np.stack([labels for _, labels in drawn]),
            "whole": np.array([asked.whole for asked in objects]),
        }
        if pattern.ambiguous:
            others = [asked.target if asked.other is None else asked.other for asked in objects]
            crop["others"] = np.stack([_pad_half(other, side) for other in others])
        if pattern.mask:
            strength, reach = options.mask_strength, options.mask_reach * _SQUARE
            masks = np.full((len(objects), side // 2, side // 2), -strength, np.float16)
            for row, asked in enumerate(objects):
                prompt = mask_prompt(asked.coarse, generator, strength, reach)
                masks[row, : prompt.shape[0], : prompt.shape[1]] = prompt
            crop["masks"] = masks
        return crop


def _mirrored(asked: Asked) -> Asked:
    return Asked(
        target=asked.target[:, ::-1],
        coarse=asked.coarse[:, ::-1],
        whole=asked.whole,
        other=None if asked.other is None else asked.other[:, ::-1],
    )


def _draw_scale(hw: tuple[int, ...], side: int, generator: np.random.Generator) -> float:
    """Draw an enlargement: from the whole picture in the crop to somewhat above its own size.

    A picture that the crop enlarges even as a whole is drawn at that size, or a third larger.
    """
    whole = 0.95 * side / max(hw)
    return float(np.exp(generator.uniform(np.log(whole), np.log(max(_LARGEST, 1.4 * whole)))))


def _cut(
    image: Image,
    maps: tuple[LabelMap, LabelMap],
    scale: float,
    side: int,
    generator: np.random.Generator,
) -> tuple[Image, tuple[LabelMap, LabelMap], tuple[int, int]]:
    """Resize a picture and its maps, cut out at most a square of even sides, and tell its size."""
    height, width = (max(32, round(length * scale)) for length in image.shape[:2])
    rows, cols = (min(side, length) // 2 * 2 for length in (height, width))
    top = int(generator.integers(0, height - rows + 1))
    left = int(generator.integers(0, width - cols + 1))
    window = np.s_[top : top + rows, left : left + cols]
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (width, height), interpolation=way)[window]
    first, second = (
        np.asarray(
            cv2.resize(m, (width, height), interpolation=cv2.INTER_NEAREST)[window], np.int32
        )
        for m in maps
    )
    return np.asarray(resized, np.uint8), (first, second), (rows, cols)


def _recolour(image: Image, generator: np.random.Generator) -> Image:
    """Change brightness, contrast and colour balance; sometimes drop the colour."""
    if generator.random() >= 0.8:
        return image
    gain = generator.uniform(0.7, 1.3) * generator.uniform(0.9, 1.1, 3)
    added = generator.uniform(-20, 20)
    values = np.arange(256)[:, None] * gain + added
    table = np.clip(values, 0, 255).astype(np.uint8)
    pixels = cv2.LUT(np.ascontiguousarray(image), table[None])
    if generator.random() < 0.12:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        pixels = np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(pixels, np.uint8)


def _pad_half(mask: Mask, side: int) -> np.ndarray:
    """Halve an (H, W) mask to shares times 255 and pad it with 0 to ``side / 2``."""
    m = mask.astype(np.uint8)
    counts = m[::2, ::2] + m[1::2, ::2] + m[::2, 1::2] + m[1::2, 1::2]
    padded = np.zeros((side // 2, side // 2), np.uint8)
    padded[: counts.shape[0], : counts.shape[1]] = _QUARTERS[counts]
    return padded


_QUARTERS = np.array([0, 63, 127, 191, 255], np.uint8)
