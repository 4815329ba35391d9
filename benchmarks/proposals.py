"""Proposals for whole pictures: how many of the true regions they find, and what their scores say.

``python -m benchmarks.proposals --model tiny graphcut --pictures 2`` asks a grid of points in some
pictures of every development set and prints, by segmenter, the average recall (AR, over IoU from
0.5 to 0.95) of all regions of the truth by the best 10, 100 and 1000 proposals of a picture, as
UnSAM counts it (Wang et al., 2024), and processor seconds. Then it asks the same in training
pictures (``--training 1`` of every source) and prints how good proposals above a limit of score and
stability are, their number in a picture and the share that overlaps some region by 0.7, and the
limits at which two in three are good: those are the segmenters' ``point_limits``. The row
goes to ``benchmarks/results/proposals.jsonl``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import SETS, changed_files, data, read_set
from benchmarks.judge_table import PICTURES
from benchmarks.speed import facts, store
from uosam.backends import BackendOptions, load_backend
from uosam.config import load_config
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.labels import components
from uosam.stages.proposals import grid_points, point_prompts, suppress
from uosam.structures import IGNORE, Backend, Floats, Image, LabelMap, Masks

RESULTS = Path(__file__).parent / "results" / "proposals.jsonl"
COUNTS = (10, 100, 1000)
LEVELS = np.arange(0.5, 1.0, 0.05)
"""IoU at which recall is taken."""
SCORES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.86, 0.88, 0.9)
STABILITIES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.86, 0.92, 0.95)
"""Limits that are looked at; SAM's are 0.88 and 0.95."""
GOOD = 0.7
"""IoU with some region from which on a proposal is good."""
SURE = 2 / 3
"""Share of good ones that limits must bring; of those that do, they keep the most good ones."""
_REPEAT = 0.9  # IoU of proposals that are the same
_SMALLEST = 100  # pixels of a region that counts


def true_regions(maps: Sequence[LabelMap], background: int | None) -> Masks:
    """Return (R, H, W) connected regions of all labels of all maps of a picture.

    Args:
        maps: (H, W) each, one or more drawn over the same picture.
        background: id that is no region, or None.
    """
    found = []
    for labels in maps:
        for label in np.unique(labels[labels != IGNORE]).tolist():
            if label == background:
                continue
            parts = components(labels == label)
            found += [part for part in parts if np.count_nonzero(part) >= _SMALLEST]
    return np.reshape(found, (-1, *maps[0].shape)).astype(bool)


def propose(image: Image, backend: Backend, grid: int) -> tuple[Masks, Floats, Floats]:
    """Ask a grid of points; no limit but that a mask is not asked for twice.

    Returns:
        (M, H, W) masks, (M,) scores and (M,) stabilities, best score first.
    """
    embedding = backend.embed(image)
    masks, scores, stabilities, small = [], [], [], []
    for prompts in point_prompts(grid_points(embedding.image_hw, grid)):
        answers = backend.decode(embedding, prompts)
        for index in np.flatnonzero(answers.masks.any(axis=(1, 2))):
            masks.append(np.packbits(answers.masks[index]))
            small.append(answers.logits[index] > 0)
            scores.append(answers.scores[index])
            stabilities.append(answers.stability[index])
    height, width = embedding.image_hw
    kept = suppress(np.reshape(small, (-1, *embedding.logits_hw)), np.array(scores), _REPEAT)
    full = [np.unpackbits(masks[index], count=height * width) for index in kept]
    return (
        np.reshape(full, (-1, height, width)).astype(bool),
        np.asarray(np.array(scores)[kept], np.float32),
        np.asarray(np.array(stabilities)[kept], np.float32),
    )


def overlaps(masks: Masks, regions: Masks) -> Floats:
    """Return (M, R) IoU of every proposal with every region."""
    one, two = (m.reshape(len(m), -1).astype(np.float32) for m in (masks, regions))
    shared = one @ two.T
    union = one.sum(axis=1)[:, None] + two.sum(axis=1)[None] - shared
    return np.asarray(shared / np.maximum(union, 1), np.float32)


def best_recalls(overlap: Floats) -> NDArray[np.float64]:
    """Return (R, 3) for each region the share of ``LEVELS`` met by the first ``COUNTS`` proposals.

    Args:
        overlap: (M, R), best score first.
    """
    rows = []
    for count in COUNTS:
        best = overlap[:count].max(axis=0, initial=0.0)
        rows.append((best[:, None] >= LEVELS[None]).mean(axis=1))
    return np.stack(rows, axis=1)


def spread(amount: int, most: int) -> list[int]:
    """Choose some of a number of pictures, evenly.

    >>> spread(10, 3)
    [0, 4, 9]
    """
    return np.unique(np.linspace(0, amount - 1, min(most, amount)).astype(int)).tolist()


def recall(backend: Backend, pictures: int, grid: int) -> dict[str, Any]:
    """Measure AR on development pictures, with processor seconds for each."""
    recalls, seconds, by_set = [], [], {}
    for name, background in SETS.items():
        found = read_set(data("val") / name)
        rows = []
        for index in spread(len(found), pictures):
            picture = found[index]
            start = time.process_time()
            masks, _, _ = propose(picture.image, backend, grid)
            seconds.append(time.process_time() - start)
            regions = true_regions([picture.target], background)
            rows.append(best_recalls(overlaps(masks, regions)))
        recalls += rows
        by_set[name] = np.concatenate(rows).mean(axis=0).tolist()
        print(name, [f"{100 * value:.1f}" for value in by_set[name]], file=sys.stderr)
    every = np.concatenate(recalls)
    return {
        "pictures": len(seconds),
        "regions": len(every),
        "recall": every.mean(axis=0).tolist(),
        "sets": by_set,
        "seconds": float(np.mean(seconds)),
    }


def calibrate(backend: Backend, pictures: int, grid: int) -> list[dict[str, float]]:
    """Tell for every pair of limits how many proposals pass in a picture, and how many are good."""
    scores, stabilities, good, images = [], [], [], 0
    for source in PICTURES:
        files = sorted((data("train") / source).glob("*.jpg"))
        for index in spread(len(files), pictures):
            path = files[index]
            maps = [
                read_with(file, LabelOptions(ignore="none")).labels
                for file in sorted(path.parent.glob(f"{path.stem}.*.png"))
            ]
            masks, score, stability = propose(read_image(path), backend, grid)
            images += 1
            scores.append(score)
            stabilities.append(stability)
            regions = true_regions(maps, None)
            good.append(overlaps(masks, regions).max(axis=1, initial=0.0) >= GOOD)
    score, stability = np.concatenate(scores), np.concatenate(stabilities)
    right = np.concatenate(good)
    rows = []
    for least in SCORES:
        for stable in STABILITIES:
            pass_ = (score >= least) & (stability >= stable)
            rows.append(
                {
                    "min_score": least,
                    "min_stability": stable,
                    "per_picture": float(pass_.sum() / images),
                    "good": float(right[pass_].mean()) if pass_.any() else float("nan"),
                    "kept": float(right[pass_].sum() / max(1, right.sum())),
                }
            )
    return rows


def best_limits(rows: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """Return the limits that keep the most good proposals of those with ``SURE`` of them good.

    >>> rows = [{"good": 0.5, "kept": 0.9}, {"good": 0.7, "kept": 0.3}, {"good": 0.9, "kept": 0.1}]
    >>> best_limits(rows)["kept"]
    0.3
    """
    sure = [row for row in rows if row["good"] >= SURE]
    return max(sure, key=lambda row: row["kept"], default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["tiny", "graphcut"])
    parser.add_argument("--pictures", type=int, default=2, help="of each development set")
    parser.add_argument("--training", type=int, default=1, help="pictures of each training source")
    parser.add_argument("--grid", type=int, default=16, help="points along each side")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    for name in arguments.model:
        config = load_config("graphcut" if name == "graphcut" else None)
        backend = load_backend(BackendOptions(name=name, device=config.backend.device))
        result = recall(backend, arguments.pictures, arguments.grid)
        shares = ", ".join(
            f"AR@{count} {100 * value:.1f}"
            for count, value in zip(COUNTS, result["recall"], strict=True)
        )
        print(
            f"{name}: {shares} of {result['regions']} regions in {result['pictures']} pictures, "
            f"{result['seconds']:.1f} s"
        )
        result["limits"] = calibrate(backend, arguments.training, arguments.grid)
        for row in result["limits"]:
            print(
                f"  score {row['min_score']:.2f}, stability {row['min_stability']:.2f}: "
                f"{row['per_picture']:.1f} in a picture, {100 * row['good']:.0f} % good, "
                f"{100 * row['kept']:.0f} % of the good ones"
            )
        best = best_limits(result["limits"])
        if best is not None:
            print(f"  limits: score {best['min_score']}, stability {best['min_stability']}")
        if not arguments.dry_run:
            row = {"part": "proposals", **facts(), "changed_files": changed_files()}
            store(RESULTS, {**row, "model": name, "grid": arguments.grid, "result": result})


if __name__ == "__main__":
    main()
