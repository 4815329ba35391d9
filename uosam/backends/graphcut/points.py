"""What points mean in a hierarchy of regions, as told by their labels or by asked levels."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.backends.graphcut.hierarchy import segments_at, segments_of_levels
from uosam.backends.graphcut.regions import Regions
from uosam.errors import InputError
from uosam.structures import Embedding, Floats, Prompts

Members = NDArray[np.bool_]  # (A, N) regions that belong to each of A answers


def clicked_regions(
    embedding: Embedding, ids: NDArray[np.int32], prompts: Prompts, row: int
) -> dict[int, int]:
    """Return the regions under the points of one row, and their labels.

    Args:
        embedding: of the picture.
        ids: (h, w) region of every pixel of the working copy.
        prompts: of any kind.
        row: which of them.
    """
    clicked = {}
    for (x, y), label in zip(prompts.points[row], prompts.point_labels[row], strict=True):
        if label >= 0:
            clicked[_region_at(x, y, ids, embedding)] = int(label)
    return clicked


def _region_at(x: float, y: float, ids: NDArray[np.int32], embedding: Embedding) -> int:
    (height, width), (image_height, image_width) = ids.shape, embedding.image_hw
    column = min(width - 1, max(0, int((x + 0.5) * width / image_width)))
    line = min(height - 1, max(0, int((y + 0.5) * height / image_height)))
    return int(ids[line, column])


def middle_region(
    embedding: Embedding,
    ids: NDArray[np.int32],
    grid: NDArray[np.int32],
    prompts: Prompts,
    row: int,
) -> dict[int, int]:
    """Click a row without a point inside in the middle of its box, or where its mask is deepest.

    Args:
        embedding: of the picture.
        ids: (h, w) region of every pixel of the working copy.
        grid: (rows, cols) region of every covered cell of the logit grid.
        prompts: of any kind.
        row: which of them.

    Returns:
        As ``clicked_regions``; empty where nothing stands for the row.
    """
    if prompts.boxes is not None:
        x0, y0, x1, y1 = prompts.boxes[row].tolist()
        return {_region_at((x0 + x1) / 2, (y0 + y1) / 2, ids, embedding): 1}
    if prompts.logits is None:
        return {}
    mask = prompts.logits[row, : grid.shape[0], : grid.shape[1]] > 0
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return {int(grid.flat[int(depth.argmax())]): 1} if mask.any() else {}


def point_segments(
    hierarchy: NDArray[np.int64], regions: Regions, clicked: Mapping[int, int], amount: int
) -> tuple[Members, Floats]:
    """Answer clicked regions with up to ``amount`` segments that differ much, smallest first.

    Returns:
        Members and (A,) scores, both empty without a click inside.
    """
    inside = [region for region, label in clicked.items() if label == 1]
    if not inside:
        return np.zeros((0, len(regions)), bool), np.zeros(0, np.float32)
    members, scores = segments_at(hierarchy, regions, inside[0], amount)
    for other in inside[1:]:
        more, _ = segments_at(hierarchy, regions, other, amount)
        members = members | more[np.minimum(np.arange(len(members)), len(more) - 1)]
    return _without_outside(members, hierarchy, regions, clicked), scores


def level_segments(
    hierarchy: NDArray[np.int64],
    regions: Regions,
    clicked: Mapping[int, int],
    levels: NDArray[np.int8],
) -> tuple[Members, Floats]:
    """Answer clicked regions with one mask for every level of granularity asked for.

    A mask unites the segments around all clicks inside; it holds the masks of higher levels.

    Returns:
        Members in the order of ``levels`` and (A,) scores, both empty without a click inside.
    """
    inside = [region for region, label in clicked.items() if label == 1]
    if not inside:
        return np.zeros((0, len(regions)), bool), np.zeros(0, np.float32)
    members, scores = segments_of_levels(hierarchy, regions, inside[0], levels)
    for other in inside[1:]:
        members = members | segments_of_levels(hierarchy, regions, other, levels)[0]
    return _without_outside(members, hierarchy, regions, clicked), scores


def _without_outside(
    members: Members, hierarchy: NDArray[np.int64], regions: Regions, clicked: Mapping[int, int]
) -> Members:
    """Take the smallest segment around each click outside away, but no clicked region inside."""
    for region, label in clicked.items():
        if label == 0:
            members = members & ~segments_at(hierarchy, regions, region, 1)[0][0]
    members[:, [region for region, label in clicked.items() if label == 1]] = True
    return members


def prior_of(embedding: Embedding, covered: tuple[int, ...], prompts: Prompts, row: int) -> Floats:
    """Return the probability of the object on the covered cells of the logit grid, for one row.

    Raises:
        InputError: a mask prompt is not on the logit grid of the embedding.
    """
    rows, cols = covered
    prior = np.ones((rows, cols), np.float32)
    if prompts.logits is not None:
        if prompts.logits.shape[1:] != embedding.logits_hw:
            raise InputError(
                f"Prompts.logits must be on the embedding's logit grid {embedding.logits_hw}, "
                f"got {prompts.logits.shape[1:]}; make them with uosam.labels.to_grid"
            )
        return np.asarray(1 / (1 + np.exp(-prompts.logits[row, :rows, :cols])), np.float32)
    if prompts.boxes is not None:
        height, width = embedding.image_hw
        x0, y0, x1, y1 = prompts.boxes[row] + [0, 0, 1, 1]
        for low, high, length, size, axis in (
            (x0, x1, width, cols, 1),
            (y0, y1, height, rows, 0),
        ):
            at = (np.arange(size) + 0.5) * length / size
            # The middle of a box is almost surely the object, its rim as likely not.
            depth = np.minimum(at - low, high - at) / max(1e-6, 0.2 * (high - low))
            prior *= np.expand_dims(np.clip(depth, 0, 1), 1 - axis).astype(np.float32)
    return prior
