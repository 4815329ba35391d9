"""Processor time of ``uosam eval`` beside plain ways of counting, each a program of its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from benchmarks.speed_evaluation import CLASSES, HW, shifted_blobs
from uosam.io.stored import store_ids
from uosam.structures import LabelSpec

WAYS = ("uosam", "plain, one pass", "plain, two passes")


def scoring(
    images: int = 200, present: int = 4, repeats: int = 5, ways: tuple[str, ...] = WAYS
) -> dict[str, Any]:
    """Time whole programs on LUSS maps of 500 x 375 with so many classes present.

    Start, reading, counting and printing are in it; for uosam also the matching and six intervals
    of 1000 resamples. What the plain ways do is said in ``benchmarks/plain_luss.py``. Programs take
    turns; the least of ``repeats`` times is kept, of processor and of wall time each for itself.
    "uosam 2" works with two processes, of which "own" is the processor time of the first: it is
    busy from start to end, so this is what the run takes on two cores that do nothing else, however
    busy they are in fact.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_maps(folder, images, present)
        found: dict[str, dict[str, float]] = {}
        for _ in range(repeats):
            for way in ways:
                times = run(_line(way, folder))
                best = found.setdefault(way, times)
                found[way] = {key: min(best[key], value) for key, value in times.items()}
                print(way, times, flush=True)
    base = found[ways[0]]["processor"]
    return {
        "images": images,
        "hw": HW,
        "present": present,
        "classes": CLASSES,
        "repeats": repeats,
        "load": round(os.getloadavg()[0], 1),
        "ways": found,
        "ratios": {way: round(found[way]["processor"] / base, 2) for way in ways},
    }


def write_maps(folder: Path, images: int, present: int) -> None:
    """Write ground truth and predictions as ImageNet-S has them, fifty folders of RGB PNG."""
    rng = np.random.default_rng(present)
    for index in range(images):
        for side, labels in zip(("pred", "gt"), shifted_blobs(rng, present), strict=True):
            path = folder / side / f"{index % 50:02d}" / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = store_ids(labels, LabelSpec(codec="luss", ignore=1000))
            PIL.Image.fromarray(stored).save(path)


def _line(way: str, folder: Path) -> list[str]:
    if way.startswith("plain"):
        which = "one" if "one" in way else "two"
        return [sys.executable, "-m", "benchmarks.plain_luss", which, str(folder)]
    workers = way.partition(" ")[2] or "1"
    line = [sys.executable, "-c", _TELLING, "eval", str(folder / "pred"), str(folder / "gt")]
    return [*line, "--protocol", f"luss-{CLASSES}", "--workers", workers]


_TELLING = """
import sys, time
from uosam.cli import main
try:
    main()
finally:
    print(time.process_time(), file=sys.stderr)
"""
"""The command, which says what it took itself, without the processes it started."""


def run(line: list[str]) -> dict[str, float]:
    """Run a program, and return its seconds of processor and wall time, "own" of uosam."""
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(line, check=True, capture_output=True, text=True, env=environment)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"processor": round(used, 2), "wall": round(wall, 2)}
    return found | ({"own": round(float(done.stderr), 2)} if "-c" in line else {})
