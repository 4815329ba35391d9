"""The log of a run: a CSV row and a line of text now and then."""

from __future__ import annotations

import csv
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from uosam.io.atomic import write_atomic
from uosam.training.batches import Batch
from uosam.training.objective import Loss


class Log:
    """Means since the last line, by kind of prompt, as a CSV row and a line of text."""

    def __init__(self, path: Path, on_line: Callable[[str], None]) -> None:
        self.path, self.on_line = path, on_line
        self.sums: dict[str, list[float]] = defaultdict(list)
        self.pictures = 0
        self.began = self.mark = time.perf_counter()
        self.waiting = 0.0

    def waited(self) -> None:
        """Count the time since ``computed`` as waiting for a batch."""
        self.waiting += time.perf_counter() - self.mark

    def computed(self) -> None:
        """Mark the end of a step."""
        self.mark = time.perf_counter()

    def add(self, batch: Batch, first: Loss, second: Loss | None) -> None:
        """Take in what a step said."""
        kind = "mask" if batch.pattern.mask else "click" if batch.pattern.ambiguous else "other"
        self.pictures += len(batch.images)
        self.sums["loss"].append(float(first.total.detach()))
        self.sums[f"{kind}_iou"] += first.chosen.tolist()
        self.sums["iou_error"] += first.error.tolist()
        if second is not None:
            self.sums["second_iou"] += second.chosen.tolist()

    def write(self, step: int, steps: int, rate: float) -> None:
        """Write the means since the last call."""
        seconds = time.perf_counter() - self.began
        names = ("loss", "mask_iou", "click_iou", "other_iou", "second_iou", "iou_error")
        row: dict[str, float] = {"step": step, "rate": rate}
        row |= {
            name: float(np.mean(self.sums[name])) if self.sums[name] else math.nan for name in names
        }
        row |= {"pictures_per_second": self.pictures / seconds, "waiting": self.waiting / seconds}
        append_row(self.path, row)
        text = "  ".join(f"{name} {row[name]:.3f}" for name in names)
        self.on_line(f"{step}/{steps}  {text}  {row['pictures_per_second']:.1f} pictures/s")
        self.sums.clear()
        self.pictures, self.waiting = 0, 0.0
        self.began = time.perf_counter()


def append_row(path: Path, row: dict[str, float]) -> None:
    """Add a line to a CSV file, with a header line if it is new."""
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


def cut_log(path: Path, step: int) -> None:
    """Drop what was logged after the checkpoint; those steps are done again."""
    if not path.is_file():
        return
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    kept: Iterable[str] = lines
    with suppress(ValueError):
        kept = [line for line in lines if int(line.split(",")[0]) <= step]
    write_atomic(path, "".join(f"{line}\n" for line in (header, *kept)).encode())
