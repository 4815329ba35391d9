"""What a training step asks: objects of a crop, their coarse masks, and prompts for them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.labels import box, components, iou, signed_distance
from uosam.stages.prompts import distance_points
from uosam.structures import IGNORE, Floats, LabelMap, Mask
from uosam.training.degradation import deform, imitate_coarse

_LEAST_SHARE, _MOST_SHARE = 0.003, 0.9
_LEAST_OVERLAP = 0.2  # of a coarse mask with its object: below, nothing could be learned from it
_LEAST_PART = 0.2  # of a class, to be an object of its own, as the refiner has it
_MOST_CLASSES = 12  # of a crop that are blurred into each other
_NEAR = 20  # pixels around an object in which most outside points lie


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Which prompts all rows of a step have, so that nothing is padded.

    Attributes:
        inside: points in the object.
        outside: points outside it.
        box: whether its box is given.
        mask: whether a degraded mask is given; box and point then come from it, not from the
            object.
    """

    inside: int = 0
    outside: int = 0
    box: bool = False
    mask: bool = False

    @property
    def ambiguous(self) -> bool:
        """Whether a single click asks, for which several objects are right."""
        return self.inside == 1 and not (self.outside or self.box or self.mask)


def draw_pattern(generator: np.random.Generator, mask_share: float) -> Pattern:
    """Draw the prompts of a step: the refiner's with ``mask_share``, else clicks and boxes."""
    if generator.random() < mask_share:
        kind = generator.random()
        if kind < 0.8:
            return Pattern(inside=1, box=True, mask=True)
        return Pattern(box=bool(kind < 0.9), mask=True)
    kind = generator.random()
    if kind < 0.4:
        return Pattern(inside=1)
    if kind < 0.55:
        return Pattern(inside=int(generator.integers(2, 5)), outside=int(generator.integers(0, 3)))
    if kind < 0.8:
        return Pattern(box=True)
    return Pattern(inside=1, outside=int(generator.integers(0, 2)), box=True)


def draw_objects(
    maps: tuple[LabelMap, LabelMap],
    generator: np.random.Generator,
    amount: int,
    stride: int,
) -> list[tuple[Mask, Mask]]:
    """Draw objects of a crop, each with a coarse mask of it.

    Half come from a whole coarse map, so that neighbours blur into each other as in the maps of a
    USS network; half are single regions, deformed.

    Args:
        maps: (H, W) region maps of the crop.
        generator: of everything random.
        amount: of objects.
        stride: pixels to a cell of the coarse map.

    Returns:
        ``amount`` pairs of object and coarse mask; repeated if there are fewer, empty if none.
    """
    found = _from_coarse_map(maps[0], generator, stride, max(1, round(0.75 * amount)))
    for region in _single_regions(maps[1], generator, amount - len(found)):
        coarse = deform(region, generator)
        if iou(coarse, region) >= _LEAST_OVERLAP:
            found.append((region, coarse))
    if not found:
        return []
    generator.shuffle(found)
    return [found[index % len(found)] for index in range(amount)]


def _of_good_size(mask: Mask) -> bool:
    return bool(_LEAST_SHARE <= mask.mean() <= _MOST_SHARE)


def _from_coarse_map(
    labels: LabelMap, generator: np.random.Generator, stride: int, amount: int
) -> list[tuple[Mask, Mask]]:
    """Imitate a coarse map; pair its objects with the part of their class that is nearest."""
    ids = generator.permutation(np.unique(labels[labels != IGNORE]))
    target = labels
    most = int(generator.integers(1, 4)) if generator.random() < 0.5 else _MOST_CLASSES
    if len(ids) > most:
        # As in pictures with a few objects on a background.
        target = np.where(np.isin(labels, ids[:most]), labels, ids.max() + 1).astype(np.int32)
        ids = ids[:most]
    noise = float(generator.uniform(0.08, 0.32))
    coarse = imitate_coarse(target, generator, noise=noise, stride=stride)
    pairs: list[tuple[Mask, Mask]] = []
    for label in ids:
        mask = coarse == label
        if len(pairs) >= amount or not _of_good_size(mask):
            continue
        parts = components(mask, round(_LEAST_PART * np.count_nonzero(mask)))
        # Specks stay with the largest part, as the refiner has it; a class of specks is one object.
        parts = [mask & ~np.any(parts[1:], axis=0), *parts[1:]] if len(parts) > 1 else [mask]
        index = int(generator.integers(len(parts)))
        nearest = labels == label
        if len(parts) > 1:
            away = [
                cv2.distanceTransform((~part).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
                for part in parts
            ]
            nearest = nearest & (np.argmin(away, axis=0) == index)
        if _of_good_size(nearest) and iou(parts[index], nearest) >= _LEAST_OVERLAP:
            pairs.append((nearest, parts[index]))
    return pairs


def _single_regions(labels: LabelMap, generator: np.random.Generator, amount: int) -> list[Mask]:
    """Draw classes and connected parts of classes."""
    regions: list[Mask] = []
    for label in generator.permutation(np.unique(labels[labels != IGNORE])):
        if len(regions) >= amount:
            break
        mask = labels == label
        if generator.random() < 0.5:
            parts = components(mask, round(_LEAST_SHARE * mask.size))
            mask = parts[int(generator.integers(len(parts)))] if parts else mask
        if _of_good_size(mask):
            regions.append(mask)
    return regions


def draw_points(
    target: Mask, coarse: Mask, pattern: Pattern, generator: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Draw points and box corners for one object.

    Returns:
        (N, 2) x, y and (N,) labels 1, 0, 2, 3, or -1 for "not a point", which SAM's prompt encoder
        adds where points come without a box.
    """
    points: list[Floats] = []
    labels: list[int] = []
    if pattern.mask and pattern.inside:
        points.append(distance_points(coarse, 1, 0)[0])
        labels.append(1)
    elif pattern.inside:
        depth = cv2.distanceTransform(
            np.pad(target, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3
        )[1:-1, 1:-1]
        deep = depth > (0.6 * depth.max() if generator.random() < 0.5 else 0)
        points.append(_pick(deep, pattern.inside, generator))
        labels += [1] * pattern.inside
    if pattern.outside:
        size = (2 * _NEAR + 1, 2 * _NEAR + 1)
        near = cv2.dilate(target.astype(np.uint8), np.ones(size, np.uint8)) > target
        far = ~target
        region = near if generator.random() < 0.6 and near.any() else far
        points.append(_pick(region, pattern.outside, generator))
        labels += [0] * pattern.outside
    if pattern.box:
        corners = box(coarse if pattern.mask else target)
        spread = generator.uniform(0, 0.02 if pattern.mask else 0.08)
        sides = np.tile(corners[2:] - corners[:2], 2)
        moved = corners + sides * generator.uniform(-spread, spread, 4)
        points.append(moved.reshape(2, 2).astype(np.float32))
        labels += [2, 3]
    elif labels:
        points.append(np.zeros((1, 2), np.float32))
        labels.append(-1)
    stacked = np.concatenate([np.zeros((0, 2), np.float32), *points]).astype(np.float32)
    return stacked, np.array(labels, np.int64)


def _pick(region: Mask, amount: int, generator: np.random.Generator) -> Floats:
    rows, cols = np.nonzero(region)
    chosen = generator.integers(0, len(rows), amount)
    return np.stack([cols[chosen], rows[chosen]], axis=1).astype(np.float32)


def mask_prompt(
    coarse: Mask, generator: np.random.Generator, strength: float, reach: float
) -> Floats:
    """Turn a coarse mask into logits at half its size.

    Most are the distance from the outline, as ``uosam.stages.prompts`` gives them; some are sharp
    and some blurred, as other programs and the scores of networks have it.

    Args:
        coarse: (H, W), even sides.
        generator: of everything random.
        strength: bound of the logits.
        reach: pixels from the outline at which the bound is met.
    """
    kind = generator.random()
    if kind < 0.75:
        logits = np.clip(signed_distance(coarse) / reach, -1, 1) * strength
    else:
        share = coarse.astype(np.float32)
        if kind < 0.88:
            width = float(generator.uniform(3, 12))
            share = np.asarray(cv2.GaussianBlur(share, (0, 0), width), np.float32)
        limit = 1 / (1 + np.exp(-strength))
        share = np.clip(share, 1 - limit, limit)
        logits = np.log(share / (1 - share)) * generator.uniform(0.5, 1)
    blocks = logits.reshape(coarse.shape[0] // 2, 2, coarse.shape[1] // 2, 2)
    # The last bit of OpenCV's distances differs from call to call, and a run that was stopped must
    # go on to the same result: steps of 1/64 are the same each time.
    return np.asarray(np.round(64 * blocks.mean(axis=(1, 3))) / 64, np.float32)
