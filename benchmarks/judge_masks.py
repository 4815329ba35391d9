"""Coarse maps of every kind, made from the region maps of training pictures, to fit a judge on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uosam.labels import iou
from uosam.structures import LabelMap, Mask
from uosam.training.data.degradation import deform, imitate_coarse, oversized, partial

KINDS = ("imitated", "near", "network", "made")
"""As USS networks blur them; as supervised networks do; partial, oversized or misplaced; and those
that a network has made, where there are any."""

_FRAME = 0.45  # share of the frame that belongs to the background of natural pictures
_LEAST = 0.002  # of the picture, to be an object
_MOST = 0.85
_OVERLAP = 0.05  # IoU of a network's object with a region, to stand for it


@dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """A coarse map, what its labels should have been, and which is the background.

    Attributes:
        coarse: (H, W).
        target: (H, W) the same ids; a label that is not there stands for nothing in the picture.
        background: id, or None.
    """

    coarse: LabelMap
    target: LabelMap
    background: int | None

    def truth(self, label: int) -> Mask:
        """(H, W) where the label should have been."""
        return self.target == label


def draw_question(regions: LabelMap, kind: str, generator: np.random.Generator) -> Question | None:
    """Make one coarse map of a kind of ``KINDS`` from one region map; None if it has no objects."""
    target, background = _draw_target(regions, generator, few=kind == "network")
    if len(np.unique(target)) < 2:
        return None
    if kind == "network":
        coarse = _as_networks(target, generator)
    else:
        noise = generator.uniform(0.1, 0.32) if kind == "imitated" else generator.uniform(0.03, 0.1)
        stride = 32 if kind == "imitated" else 8
        coarse = imitate_coarse(target, generator, noise=noise, stride=stride)
    return Question(coarse=coarse, target=target, background=background)


def match_question(coarse: LabelMap, regions: LabelMap) -> Question:
    """Take a network's own map: a label stands for the regions that it overlaps best together.

    Args:
        coarse: (H, W) ids of classes, 0 = background.
        regions: (H, W) of the same picture; the region most frequent on the frame is background.
    """
    frame = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    rest = int(np.bincount(frame).argmax())
    target = np.zeros_like(coarse)
    for label in np.unique(coarse[coarse > 0]).tolist():
        mask = coarse == label
        overlaps = {
            region: iou(mask, regions == region)
            for region in np.unique(regions[mask]).tolist()
            if region != rest
        }
        # A class may lie on several objects: more of them as long as the overlap rises.
        best = regions == -1
        for region in sorted(overlaps, key=lambda region: -overlaps[region]):
            more = best | (regions == region)
            if iou(mask, more) > max(iou(mask, best), _OVERLAP):
                best = more
        target[best] = label
    return Question(coarse=coarse, target=target, background=0)


def _draw_target(
    regions: LabelMap, generator: np.random.Generator, *, few: bool
) -> tuple[LabelMap, int | None]:
    """Choose which regions are objects: some on a background, or all without one."""
    ids, counts = np.unique(regions, return_counts=True)
    frame = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    rest = int(np.bincount(frame).argmax())
    has_rest = (frame == rest).mean() > _FRAME and generator.random() < 0.85
    if not (has_rest or few or generator.random() < 0.5):
        return (regions + 1).astype(np.int32), None
    large = ids[counts > _LEAST * regions.size]
    large = large[large != rest] if has_rest else large
    most = int(generator.integers(1, 5 if few else 9))
    target = np.zeros_like(regions)
    for index, region in enumerate(generator.permutation(large)[:most]):
        target[regions == region] = index + 1
    return target, 0


def _as_networks(target: LabelMap, generator: np.random.Generator) -> LabelMap:
    """Replace objects by parts of them, by blobs too large or displaced, and add one of nothing."""
    coarse = np.zeros_like(target)
    height, width = target.shape
    for label in generator.permutation(np.unique(target[target > 0])):
        mask = target == label
        if mask.mean() > _MOST:
            continue
        kind = generator.random()
        if kind < 0.45:
            drawn = partial(mask, generator)
        elif kind < 0.65:
            drawn = oversized(mask, generator)
        elif kind < 0.8:
            drawn = deform(mask, generator, amount=2.0)
        else:
            drawn = imitate_coarse(mask.astype(np.int32), generator, noise=0.25) > 0
        coarse[drawn] = label
    if generator.random() < 0.12:
        y, x = generator.integers(height), generator.integers(width)
        radius = np.sqrt(target.size) * generator.uniform(0.08, 0.2)
        rows, cols = np.ogrid[:height, :width]
        blob = (rows - y) ** 2 + (cols - x) ** 2 < radius**2
        coarse[blob & (coarse == 0)] = target.max() + 1
    return coarse
