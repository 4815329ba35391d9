"""What refining does to masks that are nearly right: little to gain and much to lose.

``python -m benchmarks.near`` makes masks such as a supervised network of stride 8 gives, from the
truth of every development set, refines them with the default settings, prints a table and appends
a row to ``benchmarks/results/near.jsonl``. The masks are the same at every run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import (
    SETS,
    Method,
    Picture,
    changed_files,
    data,
    measure,
    read_set,
)
from benchmarks.speed import facts, store
from uosam.backends import load_backend
from uosam.config import dump_config, load_config
from uosam.errors import UosamError
from uosam.pipeline import refine
from uosam.structures import IGNORE, Image, LabelMap
from uosam.training.data.degradation import imitate_coarse

RESULTS = Path(__file__).parent / "results" / "near.jsonl"
STRIDE, NOISE = 8, 0.06


def nearly_right(pictures: Sequence[Picture]) -> list[Picture]:
    """Replace the coarse maps by ones that are nearly the truth; unknown pixels become 0."""
    made = []
    for index, picture in enumerate(pictures):
        target = np.where(picture.target == IGNORE, 0, picture.target).astype(np.int32)
        generator = np.random.default_rng(1000 + index)
        coarse = imitate_coarse(target, generator, noise=NOISE, stride=STRIDE)
        made.append(replace(picture, coarse=coarse))
    return made


def table(result: dict[str, Any]) -> str:
    """Return all sets as a Markdown table, and their mean."""
    lines = ["| set | objects | nearly right | gain | harmed |", "|---|---|---|---|---|"]
    keys = ("iou", "boundary_iou")
    for name, numbers in result.items():
        coarse, ours = numbers["coarse"], numbers["uosam"]
        before = " / ".join(f"{100 * coarse[key]:.1f}" for key in keys)
        gain = " / ".join(f"{100 * ours[f'{key}_gain']:+.1f}" for key in keys)
        harmed = f"{100 * ours['harmed']:.1f} %"
        lines.append(f"| {name} | {numbers['objects']} | {before} | {gain} | {harmed} |")
    gains = [100 * np.mean([n["uosam"][f"{key}_gain"] for n in result.values()]) for key in keys]
    harmed = 100 * np.mean([numbers["uosam"]["harmed"] for numbers in result.values()])
    lines.append(f"| **mean of sets** | | | {gains[0]:+.1f} / {gains[1]:+.1f} | {harmed:.1f} % |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="default: all")
    parser.add_argument("--limit", type=int, help="pictures of each set; default: all")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    result = {}
    try:
        config = load_config(None, arguments.set)
        backend = load_backend(config.backend)

        def uosam(image: Image, coarse: LabelMap, background: int | None) -> LabelMap:
            return refine(image, coarse, backend, config.refine, background=background).labels

        methods: dict[str, Method] = {"uosam": uosam}
        for name in arguments.sets:
            pictures = nearly_right(read_set(data("val") / name, arguments.limit))
            result[name] = measure(pictures, methods, SETS[name])
            print(f"{name} done", file=sys.stderr)
    except UosamError as error:
        sys.exit(f"error: {error}")
    print(table(result))
    row = {"part": "near", **facts(), "changed_files": changed_files()}
    row |= {"arguments": sys.argv[1:], "config": dump_config(config), "result": result}
    if not arguments.dry_run:
        store(RESULTS, row)


if __name__ == "__main__":
    main()
