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
import torch

from uosam.errors import InputError
from uosam.io.atomic import write_atomic
from uosam.training.data.batches import Batch
from uosam.training.data.prompting import Pattern
from uosam.training.objective import Loss

_NAMES = (
    *("loss", "mask_iou", "whole_iou", "click_iou", "other_iou", "second_iou", "iou_error"),
    "seconds_a_step",
)


class Log:
    """Means since the last line, by kind of prompt, as a CSV row and a line of text.

    What a step says stays on its device until a line is written, so that none waits for it.
    """

    def __init__(self, path: Path, on_line: Callable[[str], None]) -> None:
        self.path, self.on_line = path, on_line
        self.said: list[tuple[Pattern, torch.Tensor, Loss, Loss | None]] = []
        self.pictures = self.steps = 0
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
        self.pictures += len(batch.images)
        self.steps += 1
        self.said.append((batch.pattern, batch.whole, first.said(), second and second.said()))

    def write(self, step: int, progress: str, rate: float) -> None:
        """Write the means since the last call.

        Args:
            step: steps done.
            progress: how much of the run is done, in words.
            rate: of the last step.

        Raises:
            InputError: the loss is no number.
        """
        seconds = time.perf_counter() - self.began
        sums: dict[str, list[float]] = defaultdict(list)
        for pattern, whole, first, second in self.said:
            kind = "mask" if pattern.mask else "click" if pattern.ambiguous else "other"
            sums["loss"].append(float(first.total))
            sums["iou_error"] += first.error.tolist()
            for asks, overlap in zip(whole.tolist(), first.chosen.tolist(), strict=True):
                sums["whole_iou" if asks and pattern.mask else f"{kind}_iou"].append(overlap)
            if second is not None:
                sums["second_iou"] += second.chosen.tolist()
        sums["seconds_a_step"] = [seconds / max(1, self.steps)]
        row: dict[str, float] = {"step": step, "rate": rate}
        row |= {name: float(np.mean(sums[name])) if sums[name] else math.nan for name in _NAMES}
        row |= {"pictures_per_second": self.pictures / seconds, "waiting": self.waiting / seconds}
        append_row(self.path, row)
        text = "  ".join(f"{name} {row[name]:.3f}" for name in _NAMES)
        self.on_line(
            f"{progress}  {text}  {row['pictures_per_second']:.1f} pictures/s, "
            f"{100 * row['waiting']:.0f} % waiting"
        )
        if self.said and not math.isfinite(row["loss"]):
            raise InputError(
                f"the loss at step {step} is no number; lower train.learning_rate, or use "
                "train.precision=float32"
            )
        self.said.clear()
        self.pictures, self.steps, self.waiting = 0, 0, 0.0
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
