"""One click an object: which of the masks that a segmenter offers is the object.

``python -m benchmarks.clicks --model graphcut --sets human facade`` clicks every object of the
development sets in its middle (where its mask is deepest) and prints, by set:

- 1-IoU max: IoU of the mask with the best score; oracle: of the best of all masks; by level: of
  each level of granularity that the model has; mean over objects;
- multi-granularity: IoU of the best mask with every true region under the click, where a set draws
  regions of several sizes over each other;
- NoC@85 and NoC@90: clicks until the IoU is reached, up to 20, each simulated where the answer is
  deepest wrong, as interactive segmentation counts them (RITM, Sofiiuk et al., 2022). Semantic-SAM
  reports 20 less 19 times the share that the first click reaches; that is another number.

The row goes to ``benchmarks/results/clicks.jsonl``; published rows stand in
``benchmarks/results/clicks_published.csv`` and are of other pictures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import SETS, Picture, data, read_set
from benchmarks.speed import facts, store
from uosam.backends import BackendOptions, load_backend
from uosam.backends.models import MODELS
from uosam.labels import iou
from uosam.structures import IGNORE, Backend, Embedding, Mask, Prompts, Proposals

RESULTS = Path(__file__).parent / "results" / "clicks.jsonl"
MOST = 20
"""Clicks simulated for an object at most."""
GOALS = (0.85, 0.90)
_SMALLEST = 100  # pixels of an object that is clicked


def deepest(mask: Mask) -> tuple[int, int]:
    """Return x, y of the pixel of a mask that is farthest from its outside."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return int(x), int(y)


def clicks_as_prompts(
    clicks: Sequence[tuple[int, int]], inside: Sequence[bool], levels: int = 0
) -> Prompts:
    """Make one row of clicks; with ``levels`` it asks for all of them."""
    return Prompts(
        points=np.array([clicks], np.float32),
        point_labels=np.array([inside], np.int8),
        labels=np.zeros(1, np.int32),
        levels=np.arange(1, levels + 1, dtype=np.int8)[None] if levels else None,
    )


def next_click(answer: Mask, target: Mask) -> tuple[tuple[int, int], bool]:
    """Return where an answer is deepest wrong, and whether the object is missing there."""
    missed, extra = target & ~answer, answer & ~target
    depths = [
        cv2.distanceTransform(np.pad(wrong, 1).astype(np.uint8), cv2.DIST_L2, 5).max()
        for wrong in (missed, extra)
    ]
    inside = depths[0] >= depths[1]
    return deepest(missed if inside else extra), bool(inside)


def best_scored(found: Proposals, shape: tuple[int, ...]) -> Mask:
    """Return the mask with the best score; an empty one without any answer."""
    if not len(found):
        return np.zeros(shape, bool)
    return np.asarray(found.masks[int(found.scores.argmax())])


def count_clicks(
    backend: Backend, embedding: Embedding, target: Mask, most: int = MOST
) -> dict[float, int]:
    """Simulate clicks on one object; return how many each of ``GOALS`` takes."""
    clicks, inside = [deepest(target)], [True]
    needed = dict.fromkeys(GOALS, most)
    for number in range(1, most + 1):
        found = backend.decode(embedding, clicks_as_prompts(clicks, inside))
        answer = best_scored(found, target.shape)
        reached = iou(answer, target)
        for goal in GOALS:
            if reached >= goal:
                needed[goal] = min(needed[goal], number)
        if reached >= max(GOALS):
            break
        place, missing = next_click(answer, target)
        clicks.append(place)
        inside.append(missing)
    return needed


def objects(picture: Picture, background: int | None) -> Iterator[Mask]:
    """Yield the connected objects of a true map that are large enough to be clicked."""
    for label in np.unique(picture.target).tolist():
        if label in (IGNORE, background):
            continue
        count, parts, facts_, _ = cv2.connectedComponentsWithStats(
            (picture.target == label).astype(np.uint8), connectivity=8
        )
        for part in range(1, count):
            if facts_[part, cv2.CC_STAT_AREA] >= _SMALLEST:
                yield np.asarray(parts == part)


def regions_under(
    picture: Picture, target: Mask, click: tuple[int, int], background: int | None
) -> list[NDArray[np.bool_]]:
    """Return the true regions under a click: the object, its class, and all that is no background.

    The last is left out where a set has no background; regions that are equal count once.
    """
    x, y = click
    label = int(picture.target[y, x])
    found = [target, picture.target == label]
    if background is not None:
        found.append((picture.target != background) & (picture.target != IGNORE))
    kept: list[NDArray[np.bool_]] = []
    for region in found:
        if not any(np.array_equal(region, other) for other in kept):
            kept.append(region)
    return kept


@dataclass(eq=False, kw_only=True)
class Sums:
    """What was measured of every object of a set."""

    best: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    levels: list[list[float]] = field(default_factory=list)
    regions: list[float] = field(default_factory=list)
    clicks: dict[float, list[int]] = field(default_factory=lambda: {goal: [] for goal in GOALS})

    def means(self) -> dict[str, Any]:
        """Return the means over objects."""
        found: dict[str, Any] = {
            "objects": len(self.best),
            "1-IoU max": float(np.mean(self.best)),
            "1-IoU oracle": float(np.mean(self.oracle)),
            "1-IoU multi-granularity": float(np.mean(self.regions)),
        }
        if self.levels:
            by_level = np.mean(self.levels, axis=0)
            found["1-IoU by level"] = [float(value) for value in by_level]
        for goal, counts in self.clicks.items():
            if counts:
                found[f"NoC@{round(100 * goal)}"] = float(np.mean(counts))
                found[f"share of {round(100 * goal)} not reached"] = float(
                    np.mean([count >= MOST for count in counts])
                )
        return found


def measure(
    backend: Backend,
    levels: int,
    pictures: Sequence[Picture],
    background: int | None,
    *,
    most_objects: int = 1000,
    clicks: int = MOST,
) -> dict[str, Any]:
    """Measure one set.

    Args:
        backend: any segmenter.
        levels: that it has, or 0.
        pictures: with true maps.
        background: id that is no object, or None.
        most_objects: of a picture; the first ones.
        clicks: simulated for an object at most; below 2 nothing is counted.
    """
    sums = Sums()
    for picture in pictures:
        embedding = backend.embed(picture.image)
        for number, target in enumerate(objects(picture, background)):
            if number == most_objects:
                break
            click = deepest(target)
            found = backend.decode(embedding, clicks_as_prompts([click], [True]))
            offered = [found]
            if levels:
                every = backend.decode(embedding, clicks_as_prompts([click], [True], levels))
                offered.append(every)
                by_level = np.zeros(levels)
                by_level[every.level - 1] = [iou(mask, target) for mask in every.masks]
                sums.levels.append(by_level.tolist())
            masks = [mask for proposals in offered for mask in proposals.masks]
            sums.best.append(iou(best_scored(found, target.shape), target))
            sums.oracle.append(max((iou(mask, target) for mask in masks), default=0.0))
            for region in regions_under(picture, target, click, background):
                sums.regions.append(max((iou(mask, region) for mask in masks), default=0.0))
            if clicks > 1:
                for goal, count in count_clicks(backend, embedding, target, clicks).items():
                    sums.clicks[goal].append(count)
    return sums.means()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="graphcut", choices=list(MODELS))
    parser.add_argument("--checkpoint", help="weights of the model")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--limit", type=int, help="pictures of each set")
    parser.add_argument("--objects", type=int, default=1000, help="of a picture, at most")
    parser.add_argument("--clicks", type=int, default=MOST, help="simulated at most; 1 for none")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    backend = load_backend(
        BackendOptions(name=arguments.model, checkpoint=arguments.checkpoint, device="cpu")
    )
    levels = MODELS[arguments.model].levels
    result: dict[str, Any] = {}
    for name in arguments.sets:
        start = time.perf_counter()
        result[name] = measure(
            backend,
            levels,
            read_set(data("val") / name, arguments.limit),
            SETS[name],
            most_objects=arguments.objects,
            clicks=arguments.clicks,
        )
        result[name]["seconds"] = time.perf_counter() - start
        print(name, result[name], flush=True)
    settings = {key: getattr(arguments, key) for key in ("model", "limit", "objects", "clicks")}
    if not arguments.dry_run:
        store(RESULTS, {**facts(), **settings, "levels": levels, "result": result})


if __name__ == "__main__":
    main()
