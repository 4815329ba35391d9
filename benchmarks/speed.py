"""Speed, measured against the plain or published way of doing the same thing, beside it in one run.

``python -m benchmarks.speed evaluation``, ``... pipeline`` or ``... everything`` prints what it
found and appends a row with commit, versions and machine to ``benchmarks/results/speed.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy

import uosam
from benchmarks.speed_captions import captions
from benchmarks.speed_depth import depth
from benchmarks.speed_evaluation import evaluation
from benchmarks.speed_everything import everything
from benchmarks.speed_pipeline import ALL, pipeline
from benchmarks.speed_scoring import WAYS, scoring
from benchmarks.speed_student import student
from uosam.backends.sam.builders import BUILDERS

RESULTS = Path(__file__).parent / "results" / "speed.jsonl"


def facts() -> dict[str, Any]:
    """Describe commit, versions and machine, for every stored row."""
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        cpu = names[0] if names else cpu
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit,
        "uosam": uosam.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "opencv": cv2.__version__,
        "cpu": cpu,
        "cores": os.cpu_count(),
    }


def store(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a file of results, a line of JSON each."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "evaluation": evaluation,
    "scoring": scoring,
    "pipeline": pipeline,
    "everything": everything,
    "depth": depth,
    "captions": captions,
    "student": student,
}
"""What can be measured; each part returns a row's numbers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    parser.add_argument("--model", default="vit_b", choices=BUILDERS, help="pipeline: a SAM")
    parser.add_argument("--pictures", type=int, default=1, help="pipeline: number of pictures")
    parser.add_argument(
        "--script-grid",
        type=int,
        default=64,
        help="pipeline: points a side of the published search; below 64 the row says so",
    )
    parser.add_argument("--only", nargs="+", choices=ALL, default=ALL, help="pipeline: a part")
    parser.add_argument(
        "--steps", type=int, help="student: end after these; default: the schedule of the defaults"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="pipeline: of what is quick; scoring: of all"
    )
    parser.add_argument("--images", type=int, default=200, help="scoring: number of maps")
    parser.add_argument(
        "--ways", nargs="+", default=WAYS, help='scoring: what is timed; "uosam 2" has two workers'
    )
    arguments = parser.parse_args()
    part = PARTS[arguments.part]
    if arguments.part == "pipeline":
        part = partial(
            part,
            model=arguments.model,
            only=arguments.only,
            pictures=arguments.pictures,
            script_grid=arguments.script_grid,
            repeats=arguments.repeats,
        )
    if arguments.part == "scoring":
        ways = tuple(arguments.ways)
        part = partial(part, images=arguments.images, repeats=arguments.repeats, ways=ways)
    if arguments.part == "student":
        part = partial(part, steps=arguments.steps)
    row = {"part": arguments.part, **facts(), "result": part()}
    print(json.dumps(row["result"], indent=1))
    if not arguments.dry_run:
        store(RESULTS, row)


if __name__ == "__main__":
    main()
