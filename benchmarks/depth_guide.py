"""What depth does for a segmenter that has only seen photographs: proposals on both, and the vote.

``python -m benchmarks.depth_guide`` refines the five example pictures and five pictures of each of
six development sets, with synthetic depth made from their ground truth: an upper bound. Then it
counts proposals on real depth (``$UOSAM_SHARED/data/rgbd``), for which there is no truth. It prints
two tables and appends a row to ``benchmarks/results/depth_guide.jsonl``; ``depth_pictures`` draws
what there is to see.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import SETS, TOP, Picture, data, read_set
from benchmarks.speed import facts, store
from benchmarks.synthetic_depth import SIX, synthetic_depth
from uosam.backends import load_backend
from uosam.config import Config, load_config
from uosam.errors import UosamError
from uosam.geometry.render import RenderOptions, make_guide
from uosam.io.codecs import read_labels
from uosam.io.depth import read_depth
from uosam.io.images import read_image
from uosam.labels import iou
from uosam.metrics.objects import object_scores
from uosam.pipeline import refine
from uosam.stages.global_region import propose, search
from uosam.stages.proposals import best_of, grid_points
from uosam.stages.votes import vote
from uosam.structures import Backend, Floats, Guide, Image, LabelMap, Masks

RESULTS = Path(__file__).parent / "results" / "depth_guide.jsonl"
CONFIGS = {"tiny": None, "graphcut": "graphcut"}
GRID = 16
ARMS = ("coarse", "no vote", "photo", "guide", "both")
"""Coarse masks; refined without the vote; and with it, proposals on photo, guide or both."""


def config_of(model: str, mode: str) -> tuple[Config, RenderOptions]:
    """Return a model's own settings with proposals on a grid, and how depth is drawn."""
    settings = [f"backend.name={model}", f"global_region.grid={GRID}", "backend.device=cpu"]
    return load_config(CONFIGS[model], settings), RenderOptions(mode=mode)  # type: ignore[arg-type]


def examples() -> list[Picture]:
    """Read the five example pictures."""
    folder = TOP / "examples"
    found = []
    for path in sorted((folder / "images").glob("*.jpg")):
        coarse = read_labels(folder / "coarse" / f"{path.stem}.png", ignore=None).labels
        target = read_labels(folder / "ground_truth" / f"{path.stem}.png").labels
        found.append(Picture(image=read_image(path), coarse=coarse, target=target))
    return found


def pictures(per_set: int) -> Iterator[tuple[str, Picture, int | None]]:
    """Yield the examples, then some pictures of six development sets.

    Yields:
        Name of the set, picture, and background id.
    """
    yield from (("examples", picture, 0) for picture in examples())
    for name in SIX:
        for picture in read_set(data("val") / name, per_set):
            yield name, picture, SETS[name]


def refine_all(
    picture: Picture, background: int | None, guide: Guide, backend: Backend, config: Config
) -> tuple[dict[str, LabelMap], dict[str, Masks]]:
    """Return the labels and proposals of every arm; what they share is done once."""
    options = config.refine
    alone = replace(options, global_region=replace(options.global_region, grid=0))
    local = refine(picture.image, picture.coarse, backend, alone, background=background).ids
    voting, points = options.global_region, grid_points(local.shape, GRID)
    searches = {
        "photo": search(backend.embed(picture.image), backend, voting),
        "guide": search(backend.embed(guide.image), backend, voting, guide.holes),
    }
    for one in searches.values():
        one.ask(points)
    maps, found = {"coarse": picture.coarse, "no vote": local}, {}
    for arm in ("photo", "guide", "both"):
        chosen = [one for name, one in searches.items() if arm in (name, "both")]
        found[arm], _ = best_of(chosen, voting.max_overlap)
        maps[arm] = vote(local, found[arm], voting, background)
    return maps, found


def upper_bound(model: str, mode: str, per_set: int) -> dict[str, Any]:
    """Score every arm with synthetic depth.

    Returns:
        Numbers of images and objects; by arm the means over objects of "iou" and "boundary_iou",
        and the mean changes of both against "no vote" with their 95 % intervals over pictures; and
        the means of every set, under "sets".
    """
    config, drawing = config_of(model, mode)
    backend = load_backend(config.backend)
    rows: list[tuple[str, dict[str, Floats]]] = []
    for number, (name, picture, background) in enumerate(pictures(per_set)):
        guide = make_guide(synthetic_depth(picture.target, seed=number), drawing)
        maps, _ = refine_all(picture, background, guide, backend, config)
        found = {}
        for arm, labels in maps.items():
            scores = object_scores(labels, picture.target, background=background)
            pairs = [(one.iou, one.boundary_iou) for one in scores]
            found[arm] = np.reshape(np.array(pairs, np.float32), (-1, 2))
        rows.append((name, found))
        print(model, number + 1, "done", file=sys.stderr, flush=True)
    names = dict.fromkeys(name for name, _ in rows)
    return {
        **summary([found for _, found in rows]),
        "changes": {arm: change([found for _, found in rows], arm) for arm in ARMS[2:]},
        "sets": {
            name: summary([found for other, found in rows if other == name]) for name in names
        },
    }


def summary(rows: Sequence[dict[str, Floats]]) -> dict[str, Any]:
    """Return the means over objects of scores by arm, (objects, 2) a picture."""
    means = {
        arm: np.mean(np.concatenate([row[arm] for row in rows]), axis=0).tolist() for arm in ARMS
    }
    return {
        "images": len(rows),
        "objects": sum(len(row["coarse"]) for row in rows),
        **{arm: {"iou": i, "boundary_iou": b} for arm, (i, b) in means.items()},
    }


def change(rows: Sequence[dict[str, Floats]], arm: str) -> dict[str, list[float]]:
    """Return what an arm changes against "no vote", and the interval of that over pictures.

    Returns:
        For "iou" and "boundary_iou" the mean over objects, and its 95 % bounds by 2,000 samples of
        whole pictures.
    """
    lots = np.random.default_rng(0).integers(len(rows), size=(2000, len(rows)))
    found = {}
    for index, score in enumerate(("iou", "boundary_iou")):
        gains = [row[arm][:, index] - row["no vote"][:, index] for row in rows]
        sums = np.array([gain.sum() for gain in gains])
        counts = np.array([len(gain) for gain in gains])
        means = sums[lots].sum(axis=1) / counts[lots].sum(axis=1)
        low, high = np.quantile(means, [0.025, 0.975]).tolist()
        found[score] = [float(sums.sum() / counts.sum()), low, high]
    return found


def rgbd_frames() -> Iterator[tuple[Image, Path]]:
    """Yield the pictures with measured depth, and the file of that."""
    root = data("rgbd")
    for name in ("scannet", "sunrgbd_kv2"):
        raw = "depth_raw" if (root / name / "depth_raw").is_dir() else "depth"
        for path in sorted((root / name / "color").glob("*.jpg")):
            yield read_image(path), root / name / raw / f"{path.stem}.png"


def real_proposals(model: str, mode: str) -> dict[str, float]:
    """Count proposals on photo and measured depth, and how far they agree.

    Returns:
        Means over the pictures: number of proposals, share of the picture that they cover, and the
        mean over proposals on depth of the best IoU with one on the photograph; share of holes.
    """
    config, drawing = config_of(model, mode)
    backend, options = load_backend(config.backend), config.refine.global_region
    rows = []
    for image, path in rgbd_frames():
        depth = read_depth(path, "mm", hw=(image.shape[0], image.shape[1]))
        found = [
            propose(grid_points(depth.z.shape, GRID), backend.embed(view), backend, options)[0]
            for view in (image, make_guide(depth, drawing).image)
        ]
        best = [max((iou(mask, other) for other in found[0]), default=0.0) for mask in found[1]]
        cover = [float(masks.any(axis=0).mean()) if len(masks) else 0.0 for masks in found]
        rows.append(
            [
                *(len(masks) for masks in found),
                *cover,
                float(np.mean(best)) if best else 0.0,
                depth.holes,
            ]
        )
        print(model, path.stem, "done", file=sys.stderr, flush=True)
    names = ("photo", "depth", "photo_cover", "depth_cover", "best_iou", "holes")
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True)) | {"images": len(rows)}


def table(result: dict[str, Any]) -> str:
    """Return the upper bound in points as a Markdown table."""
    lines = ["| model | rendering | " + " | ".join(ARMS) + " |", "|---" * (len(ARMS) + 2) + "|"]
    for name, found in result.items():
        model, mode = name.split("/")
        cells = [
            f"{100 * found[arm]['iou']:.1f} / {100 * found[arm]['boundary_iou']:.1f}"
            for arm in ARMS
        ]
        lines.append(f"| {model} | {mode} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--mode", default="inverse", help="how depth is drawn")
    parser.add_argument("--per-set", type=int, default=5, help="pictures of each set")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    asked = parser.parse_args()
    try:
        for model in asked.models:
            bound = upper_bound(model, asked.mode, asked.per_set)
            real = real_proposals(model, asked.mode)
            print(table({f"{model}/{asked.mode}": bound}))
            print(real)
            row = {**facts(), "model": model, "mode": asked.mode, "grid": GRID}
            row |= {"upper_bound": bound, "real": real}
            if not asked.dry_run:
                store(RESULTS, row)
    except UosamError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
