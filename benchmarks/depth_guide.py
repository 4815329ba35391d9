"""What depth does for a segmenter that has only seen photographs: proposals on both, and the vote.

``python -m benchmarks.depth_guide`` refines the five example pictures and five pictures of each of
six development sets, with synthetic depth made from their ground truth: an upper bound. Then it
counts proposals on real depth (``$UOSAM_SHARED/data/rgbd``), for which there is no truth. It prints
two tables, appends a row to ``benchmarks/results/depth_guide.jsonl`` and, with ``--picture N``,
draws examples for the docs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from benchmarks.accuracy import SETS, TOP, Picture, data, read_set
from benchmarks.speed import facts, store
from benchmarks.synthetic_depth import SIX, synthetic_depth
from uosam.backends import load_backend
from uosam.config import Config, load_config
from uosam.errors import UosamError
from uosam.geometry.cloud import paint_groups
from uosam.geometry.render import RenderOptions, make_guide
from uosam.io.codecs import read_labels
from uosam.io.depth import read_depth
from uosam.io.images import read_image
from uosam.labels import iou
from uosam.metrics.objects import object_scores
from uosam.pipeline import refine
from uosam.report.overlay import colour, draw_labels
from uosam.stages.global_region import propose, search, vote
from uosam.stages.proposals import best_of, grid_points
from uosam.structures import Backend, Floats, Guide, Image, LabelMap, Masks

RESULTS = Path(__file__).parent / "results" / "depth_guide.jsonl"
PICTURE = TOP / "docs" / "images" / "depth_guide.jpg"
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


def draw_masks(image: Image, masks: Masks) -> Image:
    """Lay masks over a picture, the smaller on top."""
    groups = paint_groups(masks, (image.shape[0], image.shape[1]))
    table = np.array([colour(i).tolist() for i in range(len(masks))] or [[0, 0, 0]], np.float32)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) * 0.6
    drawn = np.where(groups[..., None] >= 0, 0.45 * grey + 0.55 * table[groups], grey)
    return np.asarray(drawn.round(), np.uint8)


def draw_examples(path: Path, most: int, model: str = "tiny", width: int = 300) -> None:
    """Draw photo, rendering, proposals of both, and the votes of both, a row an example."""
    config, drawing = config_of(model, "inverse")
    backend = load_backend(config.backend)
    titles = ("photograph", "synthetic depth", "proposals: photo", "proposals: depth")
    titles += ("coarse mask", "vote: photo", "vote: depth")
    rows = []
    for number, picture in enumerate(examples()[:most]):
        guide = make_guide(synthetic_depth(picture.target, seed=number), drawing)
        maps, found = refine_all(picture, 0, guide, backend, config)
        panels = [picture.image, guide.image]
        panels += [draw_masks(picture.image, found[arm]) for arm in ("photo", "guide")]
        panels += [draw_labels(picture.image, maps[arm]) for arm in ("coarse", "photo", "guide")]
        height = round(width * picture.image.shape[0] / picture.image.shape[1])
        small = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in panels]
        gap = np.full((height, 6, 3), 255, np.uint8)
        rows.append(np.concatenate([part for p in small for part in (p, gap)], axis=1)[:, :-6])
        rows.append(np.full((6, rows[-1].shape[1], 3), 255, np.uint8))
    head = PIL.Image.new("RGB", (rows[0].shape[1], 26), "white")
    pen, font = PIL.ImageDraw.Draw(head), PIL.ImageFont.load_default(size=15)
    for column, title in enumerate(titles):
        pen.text((column * (width + 6) + 4, 4), title, fill="black", font=font)
    PIL.Image.fromarray(np.concatenate([np.asarray(head), *rows])).save(path, quality=82)


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
    parser.add_argument("--picture", type=int, metavar="N", help="draw N examples, measure nothing")
    asked = parser.parse_args()
    if asked.picture:
        draw_examples(PICTURE, asked.picture)
        return
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
