"""Accuracy and time against GrabCut, both on the same coarse masks in one run.

``python -m benchmarks.accuracy`` works on the six sets of ``$UOSAM_SHARED/data/val``, prints a
table and appends a row with all numbers, settings, commit, versions and machine to
``benchmarks/results/accuracy.jsonl``; ``--readme`` writes the last row's table into README.md and
draws its picture from the examples.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from uosam.baselines.grabcut import refine_grabcut

from benchmarks.marked import fill, measured
from benchmarks.speed import facts, store
from uosam.backends import load_backend
from uosam.config import Config, dump_config, load_config
from uosam.errors import InputError, UosamError
from uosam.evaluation.demo import run_demo
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.io.pairs import find_pairs
from uosam.metrics.bootstrap import paired_bootstrap
from uosam.metrics.objects import ObjectScore, object_scores
from uosam.metrics.scores import mean_score
from uosam.pipeline import refine
from uosam.structures import Image, LabelMap

TOP = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "accuracy.jsonl"
README = TOP / "README.md"
PICTURE = TOP / "docs" / "images" / "demo.jpg"
SETS: dict[str, int | None] = {
    "human": 0,
    "person": 0,
    "garments": 0,
    "objects": 0,
    "street": None,
    "facade": 0,
    "animals": 0,
    "objects_voc": 0,
    "objects_coco": 0,
    "indoor": 0,
    "salient": 0,
    "grabcut": 0,
    "faces": 0,
    "carparts": 0,
    "flowers": 0,
    "plants": 0,
    "aerial": 0,
    "video": 0,
}
"""Background id of each set; None where every id is a class."""
HARM = 0.01
"""An object that loses more IoU than this counts as harmed."""

Method = Callable[[Image, LabelMap, int | None], LabelMap]


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """One picture of a set: (H, W, 3) RGB, coarse and true (H, W) labels."""

    image: Image
    coarse: LabelMap
    target: LabelMap


def data(part: str) -> Path:
    """Return the folder of the pictures to develop on ("train") or to look at ("val")."""
    return Path(os.environ.get("UOSAM_SHARED", TOP.parent / "shared")) / "data" / part


def read_set(folder: Path, limit: int | None = None) -> list[Picture]:
    """Read ``images``, ``coarse`` and ``gt`` of a set, in order of name.

    Raises:
        InputError: the folder is not there or a file is unusable.
    """
    pairs = find_pairs(folder / "images", folder / "coarse")
    found = []
    for sample in pairs.samples[:limit]:
        assert sample.image is not None  # find_pairs gives both
        assert sample.coarse is not None
        # 255 is a class like any other in a coarse map, and "ignore" in the truth.
        target = read_with(folder / "gt" / f"{sample.name}.png", LabelOptions())
        coarse = read_with(sample.coarse, LabelOptions(ignore="none"))
        image = read_image(sample.image)
        found.append(Picture(image=image, coarse=coarse.labels, target=target.labels))
    return found


def measure(
    pictures: Sequence[Picture], methods: dict[str, Method], background: int | None
) -> dict[str, Any]:
    """Score and time every method on every picture, one method after the other on each.

    Returns:
        Numbers of images and objects; of the coarse maps "iou" and "boundary_iou"; of each method
        the same, the gains over coarse with their 95 % intervals over resampled images, the share
        of objects that lose more than a point of IoU, and seconds per picture, those of the
        processor summed over its cores; scores in [0, 1].
    """
    scores: dict[str, list[list[ObjectScore]]] = {name: [] for name in ("coarse", *methods)}
    # Time of the processor as well: on a machine that others use, the clock on the wall is noisy.
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    processor: dict[str, list[float]] = {name: [] for name in methods}
    for name in methods:  # what is loaded or compiled at the first call is not the method's time
        methods[name](pictures[0].image, pictures[0].coarse, background)
    for picture in pictures:
        scores["coarse"].append(
            object_scores(picture.coarse, picture.target, background=background)
        )
        for name, method in methods.items():
            start = time.perf_counter(), time.process_time()
            labels = method(picture.image, picture.coarse, background)
            seconds[name].append(time.perf_counter() - start[0])
            processor[name].append(time.process_time() - start[1])
            scores[name].append(object_scores(labels, picture.target, background=background))
    image = np.repeat(np.arange(len(pictures)), [len(row) for row in scores["coarse"]])
    tables = {
        name: {
            "iou": np.array([score.iou for row in rows for score in row]),
            "boundary_iou": np.array([score.boundary_iou for row in rows for score in row]),
        }
        for name, rows in scores.items()
    }
    result: dict[str, Any] = {"images": len(pictures), "objects": len(image)}
    coarse = tables["coarse"]
    for name, table in tables.items():
        entry = {key: float(values.mean()) for key, values in table.items()}
        if name != "coarse":
            for key, values in table.items():
                before, after = (mean_score(v, image, len(pictures)) for v in (coarse[key], values))
                interval = paired_bootstrap(before, after)
                entry[f"{key}_gain"] = interval.value
                entry[f"{key}_interval"] = [interval.low, interval.high]
            entry["harmed"] = float((coarse["iou"] - table["iou"] > HARM).mean())
            entry["seconds_median"] = float(np.median(seconds[name]))
            entry["seconds_mean"] = float(np.mean(seconds[name]))
            entry["processor_seconds_mean"] = float(np.mean(processor[name]))
        result[name] = entry
    return result


def all_methods(config: Config) -> dict[str, Method]:
    """Return GrabCut and uosam with the given settings, as functions of one form."""
    backend = load_backend(config.backend)

    def uosam(image: Image, coarse: LabelMap, background: int | None) -> LabelMap:
        return refine(image, coarse, backend, config.refine, background=background).labels

    def grabcut(image: Image, coarse: LabelMap, background: int | None) -> LabelMap:
        return refine_grabcut(image, coarse, background=background)

    return {"grabcut": grabcut, "uosam": uosam}


def table(row: dict[str, Any]) -> str:
    """Return a stored row as a Markdown table."""
    lines = [
        "| set | images / objects | coarse | GrabCut | uosam | 95 % interval of uosam's gain "
        "| harmed: GrabCut, uosam | seconds: GrabCut, uosam (ratio) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, numbers in row["result"].items():
        coarse, peer, ours = (numbers[key] for key in ("coarse", "grabcut", "uosam"))

        def percent(entry: dict[str, Any], keys: tuple[str, str], sign: str) -> str:
            return " / ".join(f"{100 * entry[key]:{sign}.1f}" for key in keys)

        gains = ("iou_gain", "boundary_iou_gain")
        interval = " / ".join(
            f"{100 * low:+.1f} to {100 * high:+.1f}"
            for low, high in (ours["iou_interval"], ours["boundary_iou_interval"])
        )
        cells = (
            name,
            f"{numbers['images']} / {numbers['objects']}",
            percent(coarse, ("iou", "boundary_iou"), ""),
            percent(peer, gains, "+"),
            f"**{percent(ours, gains, '+')}**",
            interval,
            f"{100 * peer['harmed']:.1f} %, {100 * ours['harmed']:.1f} %",
            f"{peer['seconds_mean']:.2f}, {ours['seconds_mean']:.2f} "
            f"({ours['seconds_mean'] / peer['seconds_mean']:.2f})",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def fill_readme(text: str, row: dict[str, Any]) -> str:
    """Return the README with the table of ``row`` between its markers.

    Raises:
        InputError: a marker is missing.
    """
    content = f"{table(row)}\n\n{measured(row)}"
    return fill(text, content, "accuracy", "README.md")


def draw_picture(path: Path, width: int = 960) -> None:
    """Write the contact sheet of the demo as a JPEG of the given width."""
    with tempfile.TemporaryDirectory() as folder:
        demo = run_demo(Path(folder) / "demo", load_config())
        with PIL.Image.open(demo.sheet) as sheet:
            size = width, round(sheet.height * width / sheet.width)
            small = sheet.resize(size, PIL.Image.Resampling.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    small.save(path, quality=74, optimize=True)


def last_row() -> dict[str, Any]:
    """Return the newest stored row of a whole run with default settings.

    Raises:
        InputError: there is none.
    """
    stored = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    rows = [json.loads(line) for line in stored]
    whole = [row for row in rows if row["part"] == "val" and not row["arguments"]]
    if not whole:
        raise InputError(f"{RESULTS.name} must hold a whole run, run benchmarks.accuracy first")
    return dict(whole[-1])


def changed_files() -> list[str]:
    """List what differs from the commit among the files that decide the numbers."""
    git = ["git", "-C", str(TOP), "status", "--porcelain", "--", "uosam", "baselines", "benchmarks"]
    lines = subprocess.run(git, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line[3:] for line in lines if "results/" not in line]


def run(data: Path, sets: Sequence[str], config: Config, limit: int | None) -> dict[str, Any]:
    """Measure the named sets below ``data``."""
    methods = all_methods(config)
    result = {}
    for name in sets:
        result[name] = measure(read_set(data / name, limit), methods, SETS[name])
        print(f"{name} done", file=sys.stderr)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="default: all")
    parser.add_argument("--limit", type=int, help="pictures of each set; default: all")
    parser.add_argument("-c", "--config", help="YAML of settings, or the name of a packaged one")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    parser.add_argument(
        "--readme", action="store_true", help="write README's table and picture, measure nothing"
    )
    arguments = parser.parse_args()
    try:
        if arguments.readme:
            text = fill_readme(README.read_text(encoding="utf-8"), last_row())
            README.write_text(text, encoding="utf-8")
            draw_picture(PICTURE)
            return
        config = load_config(arguments.config, arguments.set)
        result = run(data("val"), arguments.sets, config, arguments.limit)
    except UosamError as error:
        sys.exit(f"error: {error}")
    row = {
        "part": "val",
        **facts(),
        "changed_files": changed_files(),
        "arguments": sys.argv[1:],
        "config": dump_config(config),
        "result": result,
    }
    print(table(row))
    if not arguments.dry_run:
        store(RESULTS, row)


if __name__ == "__main__":
    main()
