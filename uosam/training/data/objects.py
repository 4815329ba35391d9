"""Which objects of a crop a training step asks for, and the masks that a network would have."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from uosam.labels import components, iou
from uosam.structures import IGNORE, LabelMap, Mask
from uosam.training.data.degradation import deform, imitate_coarse, oversized, partial

_LEAST_SHARE, _MOST_SHARE = 0.003, 0.9
_LEAST_OVERLAP = 0.2  # of a coarse mask with its object: below, nothing could be learned from it
_LEAST_PARTIAL = 0.1  # the same for partial and oversized masks
_LEAST_PART = 0.2  # of a class, to be an object of its own, as the refiner has it
_MOST_CLASSES = 12  # of a crop that are blurred into each other
_BACKGROUND = 0.25  # how often the background counts as an object

_FINE_SHARE = 0.3  # of the coarse maps are of a network with a fine grid, nearly right
_NEAR_SHARE = 0.3  # of the single regions are nearly right
_WHOLE_ANYWAY = 0.25  # of the masks of whole objects ask for the whole object too


@dataclass(frozen=True, eq=False, kw_only=True)
class Asked:
    """One object of a crop.

    Attributes:
        target: (H, W) the object.
        coarse: (H, W) a network's mask of it.
        whole: whether ``coarse`` may be only part of it, or too large.
        other: (H, W) another right answer to a click in both; None if only ``target`` is right.
    """

    target: Mask
    coarse: Mask
    whole: bool = False
    other: Mask | None = None


def draw_masked_objects(
    maps: tuple[LabelMap, LabelMap],
    generator: np.random.Generator,
    amount: int,
    *,
    stride: float,
    partial_share: float,
    background: int | None,
) -> list[Asked]:
    """Draw objects of a crop, each with a coarse mask of it.

    Some come from a whole coarse map, so that neighbours blur into each other as in the maps of a
    USS network; some are single regions, deformed; some are masks of parts, or too large.

    Args:
        maps: (H, W) region maps of the crop.
        generator: of everything random.
        amount: of objects.
        stride: pixels of the crop to a cell of a coarse map.
        partial_share: how many of the masks are partial or oversized, in [0, 1].
        background: id that is seldom asked for, or None.

    Returns:
        ``amount`` objects; repeated if there are fewer, empty if none.
    """
    parts = int(generator.binomial(amount, partial_share))
    blurred = int(np.ceil(0.6 * (amount - parts)))
    found = _from_coarse_map(maps[0], generator, stride, blurred, background)
    for region in _regions(maps[1], generator, parts, background, connected=True):
        make = partial if generator.random() < 0.7 else oversized
        coarse = make(region, generator)
        if iou(coarse, region) >= _LEAST_PARTIAL and not coarse.all():
            found.append(Asked(target=region, coarse=coarse, whole=True))
    for region in _regions(maps[1], generator, amount - len(found), background):
        near = generator.random() < _NEAR_SHARE
        coarse = deform(region, generator, amount=generator.uniform(0.05, 0.3) if near else 1.0)
        if iou(coarse, region) >= _LEAST_OVERLAP:
            found.append(_perhaps_whole(region, coarse, generator))
    return _repeated(found, generator, amount)


def draw_plain_objects(
    maps: tuple[LabelMap, LabelMap],
    generator: np.random.Generator,
    amount: int,
    *,
    background: int | None,
) -> list[Asked]:
    """Draw objects for clicks and boxes; where the two maps differ, ``other`` is of the other map.

    Arguments and result as ``draw_masked_objects``; ``coarse`` is the object itself.
    """
    found = []
    for region in _regions(maps[0], generator, amount, background):
        other = _counterpart(region, maps[1], generator)
        if other is None:
            parts = components(region, round(_LEAST_SHARE * region.size))
            # A class of several parts is as right an answer as one of them.
            if len(parts) > 1:
                other, region = region, parts[int(generator.integers(len(parts)))]
        found.append(Asked(target=region, coarse=region, other=other))
    return _repeated(found, generator, amount)


def _counterpart(region: Mask, labels: LabelMap, generator: np.random.Generator) -> Mask | None:
    """Return the region of another map around a place of this one, if it is not the same."""
    rows, cols = np.nonzero(region & (labels != IGNORE))
    if not len(rows):
        return None
    index = int(generator.integers(len(rows)))
    other = labels == labels[rows[index], cols[index]]
    common = np.count_nonzero(other & region)
    # Neither a copy nor a sliver of a click in common.
    least = 0.1 * min(np.count_nonzero(other), np.count_nonzero(region))
    if iou(other, region) > 0.9 or common < least or not _of_good_size(other):
        return None
    return np.asarray(other)


def _repeated(found: list[Asked], generator: np.random.Generator, amount: int) -> list[Asked]:
    if not found:
        return []
    order = generator.permutation(len(found))
    return [found[order[index % len(found)]] for index in range(amount)]


def _perhaps_whole(target: Mask, coarse: Mask, generator: np.random.Generator) -> Asked:
    return Asked(target=target, coarse=coarse, whole=bool(generator.random() < _WHOLE_ANYWAY))


def _of_good_size(mask: Mask) -> bool:
    return bool(_LEAST_SHARE <= np.count_nonzero(mask) / mask.size <= _MOST_SHARE)


def _from_coarse_map(
    labels: LabelMap,
    generator: np.random.Generator,
    stride: float,
    amount: int,
    background: int | None,
) -> list[Asked]:
    """Imitate a coarse map; pair its objects with the part of their class that is nearest."""
    if not amount:
        return []
    fine = generator.random() < _FINE_SHARE
    cell = max(3 if fine else 8, round(stride * (0.25 if fine else generator.uniform(0.7, 1.4))))
    noise = float(generator.uniform(0.02, 0.12) if fine else generator.uniform(0.08, 0.32))
    ids = generator.permutation(np.unique(labels[labels != IGNORE]))
    target = labels
    most = int(generator.integers(1, 4)) if generator.random() < 0.5 else _MOST_CLASSES
    if len(ids) > most:
        # As in pictures with a few objects on a background.
        target = np.where(np.isin(labels, ids[:most]), labels, ids.max() + 1).astype(np.int32)
        ids = ids[:most]
    coarse = imitate_coarse(target, generator, noise=noise, stride=cell)
    pairs: list[Asked] = []
    for label in ids:
        if label == background and generator.random() > _BACKGROUND:
            continue
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
            pairs.append(_perhaps_whole(nearest, parts[index], generator))
    return pairs


def _regions(
    labels: LabelMap,
    generator: np.random.Generator,
    amount: int,
    background: int | None,
    *,
    connected: bool = False,
) -> list[Mask]:
    """Draw classes and connected parts of classes, or only the latter; some repeat if too few."""
    regions: list[Mask] = []
    if amount < 1:
        return regions
    for label in generator.permutation(np.unique(labels[labels != IGNORE])):
        if len(regions) >= amount:
            break
        if label == background and (connected or generator.random() > _BACKGROUND):
            continue
        mask = np.asarray(labels == label)
        if connected or generator.random() < 0.5:
            parts = components(mask, round(_LEAST_SHARE * mask.size))
            mask = parts[int(generator.integers(len(parts)))] if parts else mask
        if _of_good_size(mask):
            regions.append(mask)
    return [regions[index % len(regions)] for index in range(amount)] if regions else []
