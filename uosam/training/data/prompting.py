"""With which prompts a training step asks for its objects."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.labels import box, signed_distance
from uosam.stages.prompts import distance_points
from uosam.structures import Floats, Mask
from uosam.training.data.objects import Asked

_CENTRAL = 0.65  # of the clicks lie deep inside
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
    if kind < 0.5:
        return Pattern(inside=1)
    if kind < 0.6:
        return Pattern(inside=int(generator.integers(2, 5)), outside=int(generator.integers(0, 3)))
    if kind < 0.85:
        return Pattern(box=True)
    return Pattern(inside=1, outside=int(generator.integers(0, 2)), box=True)


def draw_points(
    asked: Asked, pattern: Pattern, generator: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Draw points and box corners for one object; a lone click lies in its other answer, too.

    Returns:
        (N, 2) x, y and (N,) labels 1, 0, 2, 3, or -1 for "not a point", which SAM's prompt encoder
        adds where points come without a box.
    """
    target, coarse = asked.target, asked.coarse
    points: list[Floats] = []
    labels: list[int] = []
    if pattern.mask and pattern.inside:
        points.append(distance_points(coarse, 1, 0)[0])
        labels.append(1)
    elif pattern.inside:
        place = target
        if asked.other is not None and pattern.ambiguous:
            place = target & asked.other
        depth = cv2.distanceTransform(
            np.pad(place, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3
        )[1:-1, 1:-1]
        deep = depth > (0.6 * depth.max() if generator.random() < _CENTRAL else 0)
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
    four = (logits[::2, ::2] + logits[1::2, ::2] + logits[::2, 1::2] + logits[1::2, 1::2]) / 4
    # The last bit of OpenCV's distances differs from call to call, and a run that was stopped must
    # go on to the same result: steps of 1/64 are the same each time.
    return np.asarray(np.round(64 * four) / 64, np.float32)
