"""What very large sets cost beside the network: finding pairs, and the engine's own work.

``python -m benchmarks.million planning --pictures 1000000`` makes that many empty files and pairs
them, ``... engine --pictures 200000`` runs a task that takes ``--sleep`` seconds a picture and
nothing else through the engine. Both tell memory and processor time; a row is appended to
``benchmarks/results/million.jsonl``. In a folder of memory, such as ``--folder /dev/shm``, there is
no time of the disk.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from uosam.io.pairs import find_pairs
from uosam.runs.engine import run_folder
from uosam.runs.task import Encoded, Outcome, Task
from uosam.structures import Sample

RESULTS = Path(__file__).parent / "results" / "million.jsonl"
PER_FOLDER = 1300
"""Pictures of a folder, as ImageNet has them."""


def resident() -> float:
    """Return the memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def processor() -> tuple[float, float]:
    """Return processor seconds of this process and of its ended children: user, system."""
    own, ended = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + ended.ru_utime, own.ru_stime + ended.ru_stime


def make_files(folder: Path, pictures: int, *, content: bytes = b"", flat: bool = False) -> None:
    """Write pictures and masks of one content, 1300 in a folder or all in one."""
    for part, suffix in (("images", ".JPEG"), ("masks", ".png")):
        for start in range(0, pictures, PER_FOLDER):
            below = folder / part if flat else folder / part / f"n{start // PER_FOLDER:08d}"
            below.mkdir(parents=True, exist_ok=True)
            for index in range(start, min(pictures, start + PER_FOLDER)):
                name = f"{below}/n{start // PER_FOLDER:08d}_{index:07d}{suffix}"
                handle = os.open(name, os.O_WRONLY | os.O_CREAT, 0o666)
                if content:
                    os.write(handle, content)
                os.close(handle)


def planning(folder: Path, pictures: int, *, flat: bool) -> dict[str, Any]:
    """Pair a set, and do what a run does before its first picture."""
    make_files(folder, pictures, flat=flat)
    before, start, used = resident(), time.perf_counter(), processor()
    pairs = find_pairs(folder / "images", folder / "masks")
    wall, now = time.perf_counter() - start, processor()
    assert len(pairs.samples) == pictures
    row: dict[str, Any] = {
        "pictures": pictures,
        "flat": flat,
        "wall": round(wall, 2),
        "user": round(now[0] - used[0], 2),
        "system": round(now[1] - used[1], 2),
        "kept_mb": round(resident() - before, 1),
        "peak_mb": round(peak() - before, 1),
        "before_mb": round(before, 1),
    }
    start, used = time.perf_counter(), processor()
    from uosam.config import Config
    from uosam.runs.engine import _check_outputs
    from uosam.runs.refine import RefineTask

    _check_outputs(RefineTask(folder=folder / "out", config=Config()), pairs.samples)
    now = processor()
    return {
        **row,
        "outputs_wall": round(time.perf_counter() - start, 2),
        "outputs_user": round(now[0] - used[0], 2),
        "outputs_system": round(now[1] - used[1], 2),
        "peak_with_outputs_mb": round(peak() - before, 1),
    }


def peak() -> float:
    """Return the most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


@dataclass(frozen=True, kw_only=True)
class Nothing(Task):
    """Copies a file after a while: all that is left is the engine."""

    titles: ClassVar[Mapping[str, str]] = {"copied": "copied", "number": "numbers"}
    statuses: ClassVar[tuple[str, ...]] = ("copied",)
    turns: ClassVar[bool] = True
    folder: Path
    sleep: float = 0.0
    processes: int = 1

    @property
    def workers(self) -> int:
        """Processes."""
        return self.processes

    @property
    def out(self) -> Path:
        """Folder of the copies."""
        return self.folder

    def header(self) -> dict[str, Any]:
        """Return settings."""
        return {"uosam": "benchmark", "weights": "none", "settings": {}}

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return both files."""
        assert sample.image is not None
        assert sample.coarse is not None
        return {"image": sample.image, "mask": sample.coarse}

    def output(self, sample: Sample) -> Path:
        """Return where the copy goes."""
        return self.folder / f"{sample.name}.png"

    def load(self) -> None:
        """Load nothing."""

    def read(self, sample: Sample) -> bytes:
        """Read one file."""
        return self.inputs(sample)["mask"].read_bytes()

    def compute(self, model: None, read: bytes) -> bytes:
        """Wait."""
        if self.sleep:
            time.sleep(self.sleep)
        return read

    def encode(self, sample: Sample, read: bytes, result: bytes) -> Encoded:
        """Return the copy."""
        return Encoded(data=result, status="copied", details={"number": 1})


def engine(folder: Path, pictures: int, *, sleep: float, workers: int) -> dict[str, Any]:
    """Run the task over a set, and once more when everything is done."""
    make_files(folder, pictures, content=b"x" * 100)
    pairs = find_pairs(folder / "images", folder / "masks")
    task = Nothing(folder=folder / "out", sleep=sleep, processes=workers)
    row: dict[str, Any] = {"pictures": pictures, "sleep": sleep, "workers": workers}
    for name in ("first", "again"):
        memory: list[float] = []
        done = itertools.count(1)

        def watch(
            outcome: Outcome, memory: list[float] = memory, done: Iterator[int] = done
        ) -> None:
            if next(done) % max(1, pictures // 20) == 0:
                memory.append(resident())

        before, start, used = resident(), time.perf_counter(), processor()
        run_folder(task, pairs.samples, on_outcome=watch)
        now = processor()
        row[name] = {
            "wall_ms": round((time.perf_counter() - start) / pictures * 1000, 4),
            "user_ms": round((now[0] - used[0]) / pictures * 1000, 4),
            "system_ms": round((now[1] - used[1]) / pictures * 1000, 4),
            "before_mb": round(before, 1),
            "memory_mb": [round(value, 1) for value in memory],
            "peak_mb": round(peak(), 1),
        }
        print(name, json.dumps(row[name]), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["planning", "engine"])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--flat", action="store_true", help="planning: all files in one folder")
    parser.add_argument("--sleep", type=float, default=0.0, help="engine: seconds of a picture")
    parser.add_argument("--workers", type=int, default=1, help="engine: processes")
    parser.add_argument("--folder", help="where to write; the system's if left out")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        if arguments.part == "planning":
            result = planning(Path(name), arguments.pictures, flat=arguments.flat)
        else:
            result = engine(
                Path(name), arguments.pictures, sleep=arguments.sleep, workers=arguments.workers
            )
    print(json.dumps(result))
    from benchmarks.speed import facts, store  # not before: torch would be in the memory told

    if not arguments.dry_run:
        row = {"part": arguments.part, **facts(), "load": load, "folder": arguments.folder}
        store(RESULTS, {**row, "result": result})


if __name__ == "__main__":
    main()
