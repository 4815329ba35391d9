"""LUSS scores counted as their definitions say, in programs of their own to be timed.

``python -m benchmarks.plain_luss one FOLDER`` reads ``FOLDER/gt`` and ``FOLDER/pred`` once and
counts with NumPy and OpenCV alone, and matches nothing. ``... two FOLDER`` has the structure of the
published evaluator: a pass over all images that finds out which cluster meets which class, a
matching, and a second pass that reads and draws the boundaries anew and counts with torch. It is
milder than the original: on the CPU, without a loader's processes, and with SciPy's assignment.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image

IGNORE = -1
BINS = 921
"""0 for ignored pixels or those that are on no boundary, then the background and 919 classes."""

Erode = Callable[[Any, int], Any]


def erode_merged(mask: Any, depth: int) -> Any:
    return cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=depth)


def erode_one_by_one(mask: Any, depth: int) -> Any:
    kernel = np.ones((3, 3), np.uint8)
    for _ in range(depth):
        mask = cv2.erode(mask, kernel)
    return mask


def boundary_map(labels: Any, erode: Erode = erode_merged) -> Any:
    """Write label + 1 on the boundary of every label, a pad and an erosion for each of them."""
    height, width = labels.shape
    depth = max(1, round(0.03 * math.sqrt(height**2 + width**2)))
    out = np.zeros(labels.shape, np.int64)
    for label in np.unique(labels):
        mask = (labels == label).astype(np.uint8)
        padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        edge = mask - erode(padded, depth)[1:-1, 1:-1]
        out[edge == 1] = label + 1 if label >= 0 else 1001
    return out


def count(pairs: Any, erode: Erode = erode_merged) -> dict[Any, Any]:
    """Sum histograms of every (prediction, truth)."""
    sums = {
        name: np.zeros((3, BINS), np.int64) for name in ("area", "edge", *range(4), *range(10, 14))
    }
    for pred, target in pairs:
        scored = target != IGNORE
        edge_pred, edge_target = boundary_map(pred, erode)[scored], boundary_map(target, erode)
        edge_target = edge_target[scored]
        p, t = pred[scored] + 1, target[scored] + 1
        sums["area"] += _histograms(p, t)
        sums["edge"] += _histograms(edge_pred, edge_target)
        for size, keep in _sizes(t):
            sums[size] += _histograms(p[keep], t[keep])
            sums[10 + size] += _histograms(edge_pred[keep], edge_target[keep])
    return sums


def _sizes(target: Any) -> Iterator[tuple[int, Any]]:
    """Yield each size of objects with its pixels and those of the background; labels from 1 on."""
    ids, areas = np.unique(target[target > 1], return_counts=True)
    percent = np.array([math.ceil(100 * area / len(target)) for area in areas])
    bucket = np.searchsorted([5, 25, 50], percent)
    for size in np.unique(bucket).tolist():
        yield size, np.isin(target, [1, *ids[bucket == size]])


def _histograms(pred: Any, target: Any) -> Any:
    both = target[pred == target]
    return np.stack(
        [np.bincount(np.minimum(x, BINS), minlength=BINS + 1)[:BINS] for x in (pred, target, both)]
    )


def read(path: Path) -> Any:
    """Read a map as Pillow has it; 1000 stays."""
    array = np.array(PIL.Image.open(path)).astype(np.int32)
    return array[..., 0] + 256 * array[..., 1]


def read_pairs(folder: Path) -> Iterator[tuple[Any, Any]]:
    """Yield (prediction, truth), IGNORE where the truth says so."""
    for path in sorted((folder / "gt").rglob("*.png")):
        target = read(path)
        pred = read(folder / "pred" / path.relative_to(folder / "gt"))
        yield pred, np.where(target == 1000, IGNORE, target)


def score_in_two_passes(folder: Path) -> dict[str, float]:
    """Match and score as the published evaluator goes about it.

    Returns:
        mIoU and boundary mIoU in [0, 1], absent classes counting 0.
    """
    import torch
    from scipy.optimize import linear_sum_assignment

    torch.set_num_threads(1)
    meet = np.zeros((BINS - 2, BINS - 2))
    for pred, target in read_pairs(folder):
        boundary_map(pred), boundary_map(target)  # the loader draws them in either pass
        sides = [np.unique(side[target != IGNORE]) for side in (pred, target)]
        meet[np.ix_(*(side[side > 0] - 1 for side in sides))] += 1
    match = np.concatenate([[0], linear_sum_assignment(meet, maximize=True)[1] + 1])

    def histograms(pred: Any, target: Any) -> Any:
        both = pred[pred == target]
        sides = (pred, target, both)
        return torch.stack([torch.histc(x, bins=BINS, min=0, max=BINS - 1) for x in sides])

    sums = {name: torch.zeros(3, BINS) for name in ("area", "edge", *range(4), *range(10, 14))}
    for pred, target in read_pairs(folder):
        matched = np.zeros_like(pred)
        for label in np.unique(pred):
            matched[pred == label] = match[label]
        edges = [boundary_map(matched), boundary_map(target)]
        scored = target != IGNORE
        p, t, edge_p, edge_t = (
            torch.from_numpy(side[scored].astype(np.float32))
            for side in (matched + 1, target + 1, *edges)
        )
        sums["area"] += histograms(p, t)
        sums["edge"] += histograms(edge_p, edge_t)
        for size, keep in _sizes(target[scored] + 1):
            kept = torch.from_numpy(keep)
            sums[size] += histograms(p[kept], t[kept])
            sums[10 + size] += histograms(edge_p[kept], edge_t[kept])

    def mean(counts: Any) -> float:
        pred, target, both = counts[:, 1:].double()
        return float((both / (pred + target - both + 1e-10)).mean())

    return {"mIoU": mean(sums["area"]), "boundary_mIoU": mean(sums["edge"])}


def main() -> None:
    way, folder = sys.argv[1], Path(sys.argv[2])
    cv2.setNumThreads(1)
    if way == "two":
        print(score_in_two_passes(folder))
    else:
        sums = count(read_pairs(folder))
        print({name: int(value[2].sum()) for name, value in sums.items()})


if __name__ == "__main__":
    main()
