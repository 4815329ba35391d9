"""What processes cost and bring: time of ``uosam refine`` by number of pictures and workers.

``python -m benchmarks.workers`` refines copies of the example pictures with the embedded model on
the CPU, in a program of its own each time, and appends wall time and processor time to
``benchmarks/results/workers.jsonl``. Where other work shares the cores, which the load tells, only
the processor time says something.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.speed import facts, store
from uosam.config import examples_folder

RESULTS = Path(__file__).parent / "results" / "workers.jsonl"


def write_copies(folder: Path, pictures: int) -> None:
    """Link so many copies of the examples into ``folder / "images"`` and ``folder / "masks"``."""
    examples = examples_folder()
    for part, source in (("images", "images"), ("masks", "coarse")):
        (folder / part).mkdir(parents=True)
        files = sorted((examples / source).iterdir())
        for index in range(pictures):
            file = files[index % len(files)]
            shutil.copy(file, folder / part / f"{index:04d}{file.suffix}")


def measure(folder: Path, out: Path, workers: str, model: str) -> dict[str, float]:
    """Refine a folder and return wall and processor seconds, start of the program included."""
    line = [sys.executable, "-m", "uosam", "refine", folder / "images", folder / "masks", out]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    options = ["--workers", workers, "--model", model, "--device", "cpu", "--quiet"]
    subprocess.run([*map(str, line), *options], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(wall, 2), "processor": round(used, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, nargs="+", default=[5, 40, 200])
    parser.add_argument("--workers", nargs="+", default=["1", "2", "4"])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for pictures in arguments.pictures:
        with tempfile.TemporaryDirectory() as name:
            write_copies(Path(name), pictures)
            for workers in arguments.workers:
                load = os.getloadavg()[0]
                out = Path(name) / f"out{workers}"
                found = measure(Path(name), out, workers, arguments.model)
                rows.append({"pictures": pictures, "workers": workers, "load": load, **found})
                print(rows[-1], flush=True)
    if not arguments.dry_run:
        store(RESULTS, {"part": "workers", **facts(), "model": arguments.model, "rows": rows})


if __name__ == "__main__":
    main()
