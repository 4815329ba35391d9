"""Speed of LUSS scores against the plain way of counting them, both in one run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np

from benchmarks.plain_luss import Erode, boundary_map, count, erode_merged, erode_one_by_one
from uosam.metrics.boundary import boundary_width, near_edge
from uosam.metrics.counts import Widths, collect, count_pairs, prepare_target
from uosam.metrics.protocols import PROTOCOLS
from uosam.metrics.summary import class_labels, summarise
from uosam.structures import IGNORE, LabelMap

HW = (375, 500)
CLASSES = 919


def evaluation(images: int = 40, repeats: int = 5) -> dict[str, Any]:
    """Time LUSS scores of 500 x 375 maps with 1, 4 and 30 of 919 classes present.

    Both sides give the same sums, which is checked first: pixels and boundary pixels of prediction,
    truth and both, by class, over all pixels and by object size. The published side is one pad and
    erosion for each label of each map, once with OpenCV's ``iterations`` (which OpenCV turns into
    a single large erosion) and once with the 3 x 3 erosions done one by one, and one histogram of
    920 bins for each sum.
    """
    cv2.setNumThreads(1)
    rows = []
    for present in (1, 4, 30):
        rng = np.random.default_rng(present)
        pairs = [shifted_blobs(rng, present) for _ in range(images)]
        check_equal(pairs[:3])
        maps = [labels for pair in pairs for labels in pair]
        seconds = least(
            {
                "uosam": partial(_ours, pairs),
                "published": partial(count, pairs, erode_one_by_one),
                "published_merged": partial(count, pairs, erode_merged),
                "boundary": lambda m=maps: [_edges_ours(labels) for labels in m],
                "boundary_published": partial(_boundary_maps, maps, erode_one_by_one),
                "boundary_published_merged": partial(_boundary_maps, maps, erode_merged),
            },
            repeats,
        )
        milliseconds = {f"{key}_ms": 1e3 * value / images for key, value in seconds.items()}
        ratios = {
            "ratio": seconds["published"] / seconds["uosam"],
            "ratio_merged": seconds["published_merged"] / seconds["uosam"],
            "boundary_ratio": seconds["boundary_published"] / seconds["boundary"],
            "boundary_ratio_merged": seconds["boundary_published_merged"] / seconds["boundary"],
        }
        rows.append({"present": present, **milliseconds, **ratios})
    return {"images": images, "hw": HW, "classes": CLASSES, "rows": rows}


def shifted_blobs(rng: np.random.Generator, present: int) -> tuple[LabelMap, LabelMap]:
    """Draw a truth of smooth regions with an ignored strip, and a shifted prediction of it."""
    ids = np.concatenate([[0], rng.choice(np.arange(1, CLASSES + 1), present, replace=False)])
    fields = rng.standard_normal((len(ids), 8, 10)).astype(np.float32)
    smooth = [cv2.resize(f, HW[::-1], interpolation=cv2.INTER_CUBIC) for f in fields]
    target = ids[np.argmax(smooth, axis=0)].astype(np.int32)
    pred = np.roll(target, (5, 9), axis=(0, 1))
    target = target.copy()
    target[:20, :60] = IGNORE
    return pred, target


def _ours(pairs: list[tuple[LabelMap, LabelMap]]) -> dict[str, Any]:
    protocol = PROTOCOLS["luss-919"]
    width = boundary_width(HW, protocol.boundary_ratio)
    table = collect(
        (str(i), count_pairs(p, prepare_target(t, Widths(width)))) for i, (p, t) in enumerate(pairs)
    )
    labels = class_labels(protocol, [table])
    identity = _identity(labels)
    return dict(summarise(table, protocol, labels=labels, match=identity).scores)


def _identity(labels: Any) -> Any:
    from uosam.metrics.clusters import Match

    return Match(classes={int(label): int(label) for label in labels})


def _edges_ours(labels: LabelMap) -> Any:
    return near_edge(labels, boundary_width(HW, 0.03))


def _boundary_maps(maps: list[LabelMap], erode: Erode) -> list[Any]:
    return [boundary_map(labels, erode) for labels in maps]


def check_equal(pairs: list[tuple[LabelMap, LabelMap]]) -> None:
    """Hold both sides to the same scores before either is timed."""
    scores, sums = _ours(pairs), count(pairs, erode_one_by_one)

    def mean(counts: Any, current: bool) -> float:
        pred, target, both = counts[:, 1:]
        ious = both / (pred + target - both + 1e-10)
        return float(ious[target > 0].mean()) if current else float(ious.mean())

    expected = {"mIoU": mean(sums["area"], False), "boundary_mIoU": mean(sums["edge"], False)}
    for size, name in enumerate(("S", "MS", "ML", "L")):
        if sums[size][1].any():
            expected[name] = mean(sums[size], True)
            expected["B" + name] = mean(sums[10 + size], True)
    for name, value in expected.items():
        if abs(scores[name].value() - value) > 1e-9:
            raise AssertionError(f"{name}: {scores[name].value()} here, {value} as published")


def least(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Time every run in turn, ``repeats`` times over; the least time is the least disturbed one."""
    best = dict.fromkeys(runs, math.inf)
    for _ in range(repeats + 1):  # the first round warms up
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best
