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


def measure(
    folder: Path, out: Path, workers: str, model: str, threads: int | None = None
) -> dict[str, float]:
    """Refine a folder and return wall and processor seconds, start of the program included.

    "path" is the processor time without that of all workers but the busiest: about what the run
    takes where there is a quiet core for each of them, however busy the machine is.

    Args:
        folder: as ``write_copies`` fills it.
        out: for the results.
        workers: of the run.
        model: of the run.
        threads: of each process, or None to leave it to the libraries.
    """
    line = [sys.executable, "-m", "uosam", "refine", folder / "images", folder / "masks", out]
    options = ["--workers", workers, "--model", model, "--device", "cpu", "--quiet"]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    program = subprocess.Popen(
        [*map(str, line), *options], stdout=subprocess.DEVNULL, env=environment
    )
    busy: dict[int, float] = {}
    while program.poll() is None:
        for helper in _children(program.pid):
            for worker in _children(helper):
                busy[worker] = max(busy.get(worker, 0.0), _used(worker))
        time.sleep(0.2)
    wall = time.perf_counter() - start
    if program.returncode:
        raise subprocess.CalledProcessError(program.returncode, program.args)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    path = used - sum(busy.values()) + max(busy.values(), default=0.0)
    return {"wall": round(wall, 2), "processor": round(used, 2), "path": round(path, 2)}


def _children(process: int) -> list[int]:
    """Return the processes that one has started; none where the system does not say."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(number) for number in text.split()]


def _used(process: int) -> float:
    """Return processor seconds of a process so far."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, nargs="+", default=[5, 40, 200])
    parser.add_argument("--workers", nargs="+", default=["1", "2", "4"])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--threads", type=int, help="of each process; default: the libraries'")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    threads = {} if arguments.threads is None else {"threads": arguments.threads}
    for pictures in arguments.pictures:
        with tempfile.TemporaryDirectory() as name:
            write_copies(Path(name), pictures)
            for workers in arguments.workers:
                load = os.getloadavg()[0]
                out = Path(name) / f"out{workers}"
                found = measure(Path(name), out, workers, arguments.model, arguments.threads)
                rows.append({"pictures": pictures, "workers": workers, "load": load, **found})
                print(rows[-1], flush=True)
    if not arguments.dry_run:
        store(
            RESULTS,
            {"part": "workers", **facts(), "model": arguments.model, **threads, "rows": rows},
        )


if __name__ == "__main__":
    main()
