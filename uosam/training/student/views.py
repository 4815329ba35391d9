"""What the student looks at in a step: crops of pictures or of their feature maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from uosam.backends.student.network import CHANNELS, DIRECT, Encoder, Levels
from uosam.structures import IGNORE, Image, LabelMap
from uosam.training.student.lessons import CELL, Lesson
from uosam.training.student.options import StudentOptions

_COARSEST = 32
_STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """Crops of one step.

    Attributes:
        plain: what the teacher sees: feature maps of the crops, or [pixels] (P, 3, S, S).
        strong: the same crops with other colours.
        labels: (P, S / 4, S / 4) int64 ids, IGNORE where nothing is taught.
        weights: (P, S / 4, S / 4) confidence.
        inside: (P, S / 4, S / 4) whether a cell belongs to the picture.
    """

    plain: Levels
    strong: Levels
    labels: torch.Tensor
    weights: torch.Tensor
    inside: torch.Tensor


class Views:
    """The taught pictures, and their feature maps where the encoder is frozen.

    A view depends on seed, picture and number alone, so that what is kept and what is computed
    again are the same bits.

    Args:
        lessons: that are taught.
        encoder: of the student; on the device.
        options: of the run.
    """

    def __init__(self, lessons: list[Lesson], encoder: Encoder, options: StudentOptions) -> None:
        self.lessons, self.encoder, self.options = lessons, encoder, options
        self._kept: dict[tuple[int, int], list[NDArray[np.float16]]] = {}
        self._left = options.cache_gb * 1e9

    def features(self, index: int, view: int) -> list[NDArray[np.float16]]:
        """Return the feature maps (C, h, w) of a picture; view 0 has its own colours."""
        if (index, view) in self._kept:
            return self._kept[index, view]
        image = self.lessons[index].image
        if view:
            image = recolour(image, np.random.default_rng([self.options.seed, index, view]))
        found = look(self.encoder, image)
        self._left -= sum(level.nbytes for level in found)
        if self._left >= 0:
            self._kept[index, view] = found
        return found

    def draw(self, step: int) -> Batch:
        """Return the crops of a step: each epoch visits every picture once."""
        options, count = self.options, len(self.lessons)
        items = []
        for place in range(step * options.pictures, (step + 1) * options.pictures):
            epoch, within = divmod(place, count)
            order = np.random.default_rng([options.seed, 1, epoch]).permutation(count)
            rng = np.random.default_rng([options.seed, 2, place])
            index = int(order[within])
            items.append(self._pixels(index, rng) if options.finetune else self._cut(index, rng))
        plain, strong, labels, weights, inside = zip(*items, strict=True)
        device = next(self.encoder.parameters()).device
        return Batch(
            plain=[_join(level, device) for level in zip(*plain, strict=True)],
            strong=[_join(level, device) for level in zip(*strong, strict=True)],
            labels=_join(labels, device).long(),
            weights=_join(weights, device),
            inside=_join(inside, device),
        )

    def _cut(self, index: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Crop feature maps of a picture and mirror them now and then."""
        options, lesson = self.options, self.lessons[index]
        view = int(rng.integers(1, options.views + 1)) if options.views else 0
        pair = [self.features(index, 0), self.features(index, view)]
        window = _window(lesson.image.shape[:2], options.crop, rng)
        mirrored = bool(rng.random() < 0.5)
        cut = [
            [_crop(level, window, _COARSEST // s, mirrored) for level, s in zip(maps, _STRIDES)]  # noqa: B905
            for maps in pair
        ]
        return (*cut, *_masks(lesson.labels, lesson.weights, window, mirrored))

    def _pixels(self, index: int, rng: np.random.Generator) -> tuple[Any, ...]:
        """Scale, crop, mirror and recolour a picture."""
        options, lesson = self.options, self.lessons[index]
        scale = float(np.exp(rng.uniform(np.log(0.75), np.log(1.5))))
        rows, cols = (
            max(1, round(v * scale / _COARSEST)) * _COARSEST for v in lesson.image.shape[:2]
        )
        image = cv2.resize(lesson.image, (cols, rows), interpolation=cv2.INTER_LINEAR)
        size = (cols // CELL, rows // CELL)
        labels = cv2.resize(
            lesson.labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT
        ).astype(np.int32)
        weights = np.asarray(
            cv2.resize(lesson.weights, size, interpolation=cv2.INTER_LINEAR), np.float32
        )
        window = _window((rows, cols), options.crop, rng)
        mirrored = bool(rng.random() < 0.5)
        pair = [image, recolour(np.asarray(image, np.uint8), rng)]
        cut = [[_crop(v.transpose(2, 0, 1), window, _COARSEST, mirrored)] for v in pair]
        return (*cut, *_masks(labels, weights, window, mirrored))


def class_means(views: Views, classes: int) -> Levels:
    """Return (K, C) for each stride of ``DIRECT``: the mean column of the cells of each id.

    Columns are brought to length 1 first; a cell of a coarse stride counts for each id by the share
    that it has of the cell, times its confidence.
    """
    sums = [torch.zeros(classes, CHANNELS[stride]) for stride in DIRECT]
    counts = [torch.zeros(classes, 1) for _ in DIRECT]
    for index, lesson in enumerate(views.lessons):
        known = torch.from_numpy(np.where(lesson.labels >= 0, lesson.weights, 0))
        ids = torch.from_numpy(lesson.labels).long().clamp(min=0)
        shares = (F.one_hot(ids, classes) * known[..., None]).permute(2, 0, 1)
        for place, stride in enumerate(DIRECT):
            level = torch.from_numpy(views.features(index, 0)[_STRIDES.index(stride)]).float()
            rows, cols = level.shape[1:]
            own = F.adaptive_avg_pool2d(shares, (rows, cols)).flatten(1)
            sums[place] += own @ F.normalize(level, dim=0).flatten(1).T
            counts[place] += own.sum(dim=1, keepdim=True)
    return [total / count.clamp(min=1e-6) for total, count in zip(sums, counts, strict=True)]


@torch.no_grad()
def look(encoder: Encoder, image: Image) -> list[NDArray[np.float16]]:
    """Return the feature maps (C, h, w) of a picture from stride 4 to 32, in float16."""
    device = next(encoder.parameters()).device
    pixels = torch.from_numpy(image.transpose(2, 0, 1)[None].copy()).to(device)
    return [level[0].cpu().numpy().astype(np.float16) for level in encoder(pixels)]


def recolour(image: Image, rng: np.random.Generator) -> Image:
    """Change brightness, contrast, saturation and hue of a picture, blur it or make it grey."""
    values = image.astype(np.float32)
    values = (values - 127) * rng.uniform(0.6, 1.4) + 127 + rng.uniform(-32, 32)
    grey = values.mean(axis=2, keepdims=True)
    strength = 0.0 if rng.random() < 0.1 else rng.uniform(0.5, 1.5)
    values = grey + (values - grey) * strength
    if rng.random() < 0.8:
        values = values * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.3:
        values = cv2.GaussianBlur(values, (0, 0), float(rng.uniform(0.5, 1.5)))
    return np.asarray(np.clip(values, 0, 255).round(), np.uint8)


def _window(hw: tuple[int, ...], crop: int, rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw the first row and column of a crop, and its side, in cells of stride 32."""
    side = crop // _COARSEST
    first = [int(rng.integers(0, max(0, v // _COARSEST - side) + 1)) for v in hw]
    return first[0], first[1], side


def _crop(
    values: NDArray[Any], window: tuple[int, int, int], factor: int, mirrored: bool, fill: int = 0
) -> NDArray[Any]:
    """Cut (..., h, w) to the window, filled up at the bottom and on the right."""
    row, col, side = (v * factor for v in window)
    cut = values[..., row : row + side, col : col + side]
    cut = cut[..., ::-1] if mirrored else cut
    missing = [side - cut.shape[-2], side - cut.shape[-1]]
    padding = [(0, 0)] * (values.ndim - 2) + [(0, missing[0]), (0, missing[1])]
    return np.pad(cut, padding, constant_values=fill) if any(missing) else cut


def _masks(
    labels: LabelMap,
    weights: NDArray[np.float32],
    window: tuple[int, int, int],
    mirrored: bool,
) -> tuple[NDArray[Any], ...]:
    factor = _COARSEST // CELL
    inside = np.ones(labels.shape, np.bool_)
    return (
        _crop(labels, window, factor, mirrored, IGNORE),
        _crop(weights, window, factor, mirrored),
        _crop(inside, window, factor, mirrored),
    )


def _join(arrays: Any, device: torch.device) -> torch.Tensor:
    joined = torch.from_numpy(np.ascontiguousarray(np.stack(arrays))).to(device)
    return joined.float() if joined.dtype == torch.float16 else joined
