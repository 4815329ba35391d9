"""Crops and prompts of one step; the same for the same seed and step, whoever prepares them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from uosam.structures import IGNORE, Floats, Image, LabelMap, Mask
from uosam.training.options import TrainOptions
from uosam.training.pictures import find_training_pictures, read_picture
from uosam.training.prompting import (
    Pattern,
    draw_objects,
    draw_pattern,
    draw_points,
    mask_prompt,
)

_SQUARE = 512  # side of the network's own square
_STRIDE = 32  # of the USS networks whose masks are imitated


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """P crops of S x S pixels with K prompts each; the K rows of a crop lie together.

    Attributes:
        step: which step it is for.
        images: (P, S, S, 3) uint8.
        inside: (P, S, S) where the picture is; what lies beyond its edge is padding.
        known: (P, S/2, S/2) 1 where ground truth counts, else 0.
        targets: (PK, S/2, S/2) uint8, share of the object times 255.
        points: (PK, N, 2) x, y in pixels of the crop.
        labels: (PK, N) as in ``draw_points``.
        masks: (PK, S/2, S/2) logits, or None.
        pattern: which prompts they are.
    """

    step: int
    images: torch.Tensor
    inside: torch.Tensor
    known: torch.Tensor
    targets: torch.Tensor
    points: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor | None
    pattern: Pattern


class Batches(Dataset[Batch]):
    """The batch of every step of a run, by step number."""

    def __init__(self, root: Path, options: TrainOptions) -> None:
        self.options = options
        self.pictures, self.probability = find_training_pictures(root, options)

    def __len__(self) -> int:
        return self.options.steps

    def __getitem__(self, step: int) -> Batch:
        options = self.options
        pattern = draw_pattern(np.random.default_rng((options.seed, step)), options.mask_share)
        last = step >= round(options.steps * (1 - options.final_share))
        side = options.final_side if last else options.side
        amount = options.final_pictures if last else options.pictures
        crops = [self._crop(step, index, side, pattern) for index in range(amount)]
        columns = list(zip(*crops, strict=True))
        stacked = [torch.from_numpy(np.stack(column)) for column in columns[:3]]
        rows = [torch.from_numpy(np.concatenate(column)) for column in columns[3:6]]
        masks = torch.from_numpy(np.concatenate(columns[6])) if pattern.mask else None
        images, inside, known = stacked
        targets, points, labels = rows
        return Batch(
            step=step,
            images=images,
            inside=inside,
            known=known,
            targets=targets,
            points=points,
            labels=labels,
            masks=masks,
            pattern=pattern,
        )

    def _crop(self, step: int, index: int, side: int, pattern: Pattern) -> tuple[np.ndarray, ...]:
        options = self.options
        generator = np.random.default_rng((options.seed, step, index))
        while True:
            chosen = int(generator.choice(len(self.pictures), p=self.probability))
            image, first, second = read_picture(self.pictures[chosen], generator)
            scale = _draw_scale(image.shape[:2], side, generator)
            image, maps, valid = _cut(image, (first, second), scale, side, generator)
            stride = max(8, round(_STRIDE * scale * generator.uniform(0.7, 1.4)))
            objects = draw_objects(maps, generator, options.prompts, stride)
            if objects:
                break
        flip = generator.random() < 0.5
        if flip:
            image, maps = image[:, ::-1], (maps[0][:, ::-1], maps[1][:, ::-1])
            objects = [(target[:, ::-1], coarse[:, ::-1]) for target, coarse in objects]
        points, labels, masks, targets = [], [], [], []
        for target, coarse in objects:
            drawn = draw_points(target, coarse, pattern, generator)
            points.append(drawn[0])
            labels.append(drawn[1])
            targets.append(_pad_half(255 * target.astype(np.float32), side, 0).astype(np.uint8))
            if pattern.mask:
                prompt = mask_prompt(
                    coarse, generator, options.mask_strength, options.mask_reach * _SQUARE
                )
                masks.append(_pad(prompt, side // 2, -options.mask_strength))
        padded = np.zeros((side, side, 3), np.uint8)
        padded[: valid[0], : valid[1]] = _recolour(image, generator)
        inside = np.zeros((side, side), bool)
        inside[: valid[0], : valid[1]] = True
        known = _pad_half((maps[0] != IGNORE).astype(np.float32), side, 0)
        return (
            padded,
            inside,
            (known > 0.5).astype(np.uint8),
            np.stack(targets),
            np.stack(points),
            np.stack(labels),
            np.stack(masks) if masks else np.zeros(0, np.float32),
        )


def _draw_scale(hw: tuple[int, ...], side: int, generator: np.random.Generator) -> float:
    """Draw an enlargement: from the whole picture in the crop to somewhat above its own size."""
    whole = side / max(hw)
    return float(np.exp(generator.uniform(np.log(0.95 * whole), np.log(1.25))))


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
    pixels = image.astype(np.float32)
    if generator.random() < 0.8:
        pixels = pixels * generator.uniform(0.7, 1.3) + generator.uniform(-20, 20)
        pixels *= generator.uniform(0.9, 1.1, 3).astype(np.float32)
        if generator.random() < 0.12:
            pixels[:] = pixels.mean(axis=2, keepdims=True)
    return np.asarray(np.clip(pixels, 0, 255), np.uint8)


def _pad(array: Floats, side: int, fill: float) -> Floats:
    padded = np.full((side, side), fill, np.float32)
    padded[: array.shape[0], : array.shape[1]] = array
    return padded


def _pad_half(array: Floats | Mask, side: int, fill: float) -> Floats:
    """Halve an (H, W) array by averaging and pad it to ``side / 2``."""
    half = (array.shape[1] // 2, array.shape[0] // 2)
    halved = cv2.resize(array.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    return _pad(np.asarray(halved, np.float32), side // 2, fill)
