"""Speed of the pipeline against the published UO-SAM procedure and its rivals, in one run.

All take the same pictures, the same weights and all cores; each has a process of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed_procedures import (
    Task,
    count_script,
    gflops,
    in_process,
    measure,
    measure_end_to_end,
    read_example,
    reload_seconds,
)
from benchmarks.speed_weights import build_seeded
from uosam.backends.models import MODELS, weights_path
from uosam.config import load_config
from uosam.stages.prompts import object_masks

PICTURES = ("astronaut", "coffee")
"""Examples, the one with three objects above the published floor of 10 % first."""

GRID = 18
"""Points along a side of our search, 324 in all."""

ALL = ("uosam", "uosam_bfloat16", "uosam_band", "samrefiner", "ssa", "script", "default")
"""Ours in float32, in bfloat16 and in the band; rivals; the default settings, files included."""

_FULL_GRID = 64


def pipeline(
    *,
    model: str = "vit_b",
    only: Sequence[str] = ALL,
    pictures: int = 1,
    repeats: int = 5,
    grid: int = GRID,
    script_grid: int = _FULL_GRID,
) -> dict[str, Any]:
    """Time the published procedure, SAMRefiner, SSA's vote and ours.

    SSA's vote and SAMRefiner run on our backend, with its decoder; SSA's program itself is the
    search of the published procedure, and costs what that costs.

    Args:
        model: key of the SAM backends; seeded, unless its weights come with the package.
        only: of ``ALL``; ratios to the published procedure need it in the same run.
        pictures: of ``PICTURES``, how many; the published procedure takes ten minutes for each.
        repeats: timed runs of the quick procedures after a warm-up; the slow ones run once.
        grid: points along a side of ours. All are asked, so that the number is known; the rows of
            the band ask fewer, the fewer the surer the weights are of their masks.
        script_grid: points along a side of the published searches. Below 64 a share of their
            prompts is decoded, in batches of the same size; ``measured_share`` says which, and
            ``seconds_whole``, which the ratios are of, takes all but the encodings times its
            inverse.
    """
    rates = _rates()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        checkpoint = Path(name) / "seeded.pth"
        trained = MODELS[model].packaged
        if trained:
            checkpoint = weights_path(MODELS[model])
        elif set(only) - {"default"}:
            seeded = build_seeded(model, read_example(PICTURES[0])[0])
            torch.save(seeded.state_dict(), checkpoint)
        for picture in PICTURES[:pictures]:
            bench = _Picture(
                name=picture, model=model, checkpoint=checkpoint, grid=grid, repeats=repeats
            )
            rows.append(bench.compare(only, script_grid, rates))
    whole = in_process(measure_end_to_end, PICTURES[0], repeats) if "default" in only else None
    return {
        "gflops": rates,
        "gflops_after": _rates(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "model": model,
        "weights": "trained" if trained else "seeded",
        "settings": f"-c sam -s {_points(grid)}",
        "pictures": rows,
        "default_end_to_end": whole,
    }


def _points(grid: int) -> str:
    return f"global_region.grid={grid}"


def _rates() -> dict[str, float]:
    return {"float32": gflops(torch.float32), "bfloat16": gflops(torch.bfloat16)}


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """One picture and what its procedures share."""

    name: str
    model: str
    checkpoint: Path
    grid: int
    repeats: int

    def run(
        self, procedure: str, repeats: int = 0, precision: str = "float32", **settings: Any
    ) -> dict[str, Any]:
        task = Task(
            procedure=procedure,
            model=self.model,
            checkpoint=self.checkpoint,
            picture=self.name,
            precision=precision,
            repeats=repeats,
            settings=settings,
        )
        row: dict[str, Any] = in_process(measure, task)
        print(self.name, procedure, precision, f"{row['seconds']:.2f} s", flush=True)
        return row

    def _script(self, grid: int, objects: int) -> dict[str, Any]:
        """Run the published procedure, count its arithmetic and time its reloads apart."""
        whole = 2 * objects + _FULL_GRID**2 + 4 * (_FULL_GRID // 2) ** 2
        row = _scaled(self.run("script", grid=grid), whole)
        flop = in_process(count_script, self.model)
        reload = in_process(reload_seconds, self.checkpoint, self.model, 3)
        return {
            **row,
            "tflop": (2 * objects + 5) * flop["encode"] + whole * flop["point"],
            "reloads": objects + 1,
            "reload_seconds": reload,
            "seconds_with_reloads": row["seconds_whole"] + (objects + 1) * reload,
        }

    def compare(
        self, only: Sequence[str], script_grid: int, rates: dict[str, float]
    ) -> dict[str, Any]:
        """Run what is asked for, ours first: should a slow one fail, there is something to see."""
        image, coarse = read_example(self.name)
        objects = len(object_masks(coarse, load_config("paper").refine.prompts, 0))
        points = (_points(self.grid),)
        band = (*points, "global_region.seeds=band")
        runs: dict[str, Callable[[], dict[str, Any]]] = {
            "uosam": lambda: self.run("uosam", self.repeats, changes=points),
            "uosam_bfloat16": lambda: self.run("uosam", self.repeats, "bfloat16", changes=points),
            "uosam_band": lambda: self.run("uosam", 1, changes=band),
            "samrefiner": lambda: self.run("samrefiner", 1),
            "ssa": lambda: _scaled(self.run("ssa", grid=script_grid), _FULL_GRID**2),
            "script": lambda: self._script(script_grid, objects),
        }
        rows = {name: run() for name, run in runs.items() if name in only}
        script, ours = rows.get("script"), rows.get("uosam")
        agreement = {
            name: float(np.mean(ours["labels"] == rows[name]["labels"]))
            for name in ("uosam_bfloat16", "uosam_band")
            if ours and name in rows
        }
        if ours and "uosam_bfloat16" in rows:
            rows["uosam_bfloat16"]["tflop"] = ours["tflop"]
        for row in rows.values():
            del row["labels"]
            seconds = row.get("seconds_whole", row["seconds"])
            if script:
                row["times_faster"] = script["seconds_whole"] / seconds
                row["times_faster_than_reloading"] = script["seconds_with_reloads"] / seconds
            if "tflop" in row:
                row["floor_seconds"] = row["tflop"] * 1e3 / rates[row["precision"]]
                row["times_floor"] = seconds / row["floor_seconds"]
        return {
            "name": self.name,
            "hw": image.shape[:2],
            "objects": objects,
            "procedures": rows,
            "agreement": agreement,
        }


def _scaled(row: dict[str, Any], whole: int) -> dict[str, Any]:
    """Say which share of the ``whole`` prompts was decoded, and scale the time to all of them."""
    row["measured_share"] = row["prompts"] / whole
    encode = row["stages"]["encode"]
    row["seconds_whole"] = encode + (row["seconds"] - encode) / row["measured_share"]
    return row
