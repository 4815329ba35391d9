"""Time of teaching a student 500 pictures: house fronts of ``train/facade`` with their classes."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uosam.io.codecs import LabelOptions
from uosam.training.student.command import retrain
from uosam.training.student.options import StudentOptions

TOP = Path(__file__).parents[1]
PICTURES = 500


def student(*, steps: int | None = None, pictures: int = PICTURES) -> dict[str, Any]:
    """Teach with the default settings, on one thread of a CPU.

    Args:
        steps: end after these; None for the schedule of the defaults, with its early stop.
        pictures: how many, evenly spread over the set.

    Returns:
        Steps that were done and that the schedule has, and a list of (step, wall seconds, processor
        seconds) since the start at each check. Feature maps of the three versions of a picture are
        computed when it is first drawn, so that the first checks come slowly.
    """
    source = Path(os.environ.get("UOSAM_SHARED", TOP.parent / "shared")) / "data/train/facade"
    truths = sorted(source.glob("*.0.png"))
    chosen = [truths[i] for i in np.linspace(0, len(truths) - 1, pictures).astype(int)]
    options = StudentOptions(device="cpu")
    schedule = options.steps(pictures - round(pictures * options.held_back))
    if steps is not None:
        options = StudentOptions(device="cpu", least_steps=min(steps, 300), most_steps=steps)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for kind in ("images", "masks"):
            (work / kind).mkdir()
        for path in chosen:
            name = path.name[: -len(".0.png")]
            shutil.copy(source / f"{name}.jpg", work / "images")
            shutil.copy(path, work / "masks" / f"{name}.png")
        start, used = time.perf_counter(), time.process_time()
        checks: list[tuple[str, float, float]] = []

        def check(line: str) -> None:
            wall, cpu = time.perf_counter() - start, time.process_time() - used
            checks.append((line.split("/")[0], round(wall, 1), round(cpu, 1)))
            print(line, checks[-1], flush=True)

        taught = retrain(
            work / "images",
            work / "masks",
            work / "out",
            options,
            labels=LabelOptions(background="none"),
            on_line=check,
        )
    return {
        "pictures": pictures,
        "steps": taught.steps,
        "schedule": schedule,
        "agreement": taught.agreement,
        "checks": checks,
    }
