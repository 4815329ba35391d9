"""The tables of the loop, from the stored rows of ``benchmarks.loop`` into README and docs/loop.md.

``python -m benchmarks.loop_table`` fills them in, and with ``--picture`` runs the loop on the
pictures of ``examples/`` and draws ``docs/images/loop.jpg``. A number is the mean over the seeds of
a set; the ends of its interval are the means of the ends of the seeds' paired intervals, so it is
no narrower for there being several seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image

from benchmarks.accuracy import README, TOP
from benchmarks.loop import RESULTS, STUDENT, TABLE
from benchmarks.loop_scores import HEADLINES
from benchmarks.marked import fill
from uosam.errors import InputError
from uosam.evaluation.rounds.loop import LoopOptions, LoopResult, run_loop
from uosam.io.codecs import read_labels
from uosam.io.images import read_image
from uosam.report.overlay import draw_labels
from uosam.structures import Image

PICTURE = TOP / "docs" / "images" / "loop.jpg"
PAGE = TOP / "docs" / "loop.md"

STEPS = {
    "k-means": "k-means",
    "loop, round 0, refined": "refined",
    "loop, round 1, coarse": "retrained",
    "loop, round 1, refined": "retrained, refined",
    "loop, round 2, coarse": "retrained twice",
    "loop, round 2, refined": "retrained twice, refined",
    "loop, kept": "kept by the loop",
    "no refining, round 1, coarse": "retrained without refining",
    "no refining, round 2, coarse": "retrained twice without refining",
    "dense CRF": "dense CRF on the clusters",
    "SAMRefiner": "SAMRefiner on the clusters",
}
"""Steps in the order of the tables, and what they are called there."""
SHORT = (
    "k-means",
    "dense CRF",
    "no refining, round 2, coarse",
    "loop, round 0, refined",
    "SAMRefiner",
    "loop, round 1, coarse",
    "loop, round 1, refined",
    "loop, round 2, refined",
    "loop, kept",
)

Rows = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""Rows by set and step, one a seed."""


def read(results: Path, part: str = "loop") -> Rows:
    """Return the newest row of each set, step and seed, of runs with default settings.

    Args:
        results: stored rows.
        part: "loop" for gains over k-means, "loop over refined" for those over refining alone.

    Raises:
        InputError: there is none.
    """
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    newest: dict[tuple[str, str, int], dict[str, Any]] = {}
    for row in map(json.loads, lines):
        if row["part"] == part and not row["settings"]:
            newest[row["set"], row["step"], row["seed"]] = row
    if not newest:
        raise InputError(f"{results.name} must hold a set, run benchmarks.loop first")
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (name, step, _), row in sorted(newest.items()):
        found.setdefault((name, step), []).append(row)
    return found


def split(found: Rows) -> tuple[Rows, Rows]:
    """Part the seeds of a set that have every step from those of which only the loop was run.

    A mean over two seeds must not stand beside a rival's of one.
    """
    parts: tuple[dict[tuple[str, str], list[Mapping[str, Any]]], ...] = ({}, {})
    for (name, step), rows in found.items():
        for row in rows:
            seeds = [{own["seed"] for own in found.get((name, other), [])} for other in STEPS]
            part = parts[0] if all(row["seed"] in own for own in seeds) else parts[1]
            part.setdefault((name, step), []).append(row)
    return parts[0], parts[1]


def cell(rows: Sequence[Mapping[str, Any]], score: str) -> str:
    """Write the score of k-means, or the gain over it with its interval, in percent."""
    if "gains" not in rows[0]:
        return f"{100 * np.mean([row[score] for row in rows]):.1f}"
    value, low, high = 100 * np.mean([row["gains"][score] for row in rows], axis=0)
    text = f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"**{text}**" if low > 0 else text


def mean_gain(found: Rows, step: str, score: str, sets: Sequence[str]) -> float:
    """Return the mean over sets of the mean over seeds, in percent: of k-means, or the gain."""
    values = [
        np.mean([row["gains"][score][0] if "gains" in row else row[score] for row in rows])
        for rows in (found[name, step] for name in sets)
    ]
    return float(100 * np.mean(values))


def table(found: Rows, score: str, sets: Sequence[str]) -> str:
    """Return a Markdown table: a row for each step, a column for each set and one of means."""
    steps = [step for step in STEPS if all((name, step) in found for name in sets)]
    heads = []
    for name in sets:
        first = found[name, steps[0]]
        classes = f"{first[0]['classes']} classes, " if "classes" in first[0] else ""
        heads.append(f"{name}: {classes}{_seeds(len(first))}")
    lines = [f"| masks | {' | '.join(heads)} | mean |", "|---|" + "---|" * (len(sets) + 1)]
    for step in steps:
        title = STEPS[step]
        own = [cell(found[name, step], score) for name in sets]
        sign = "" if step == "k-means" else "+"
        mean = f"{mean_gain(found, step, score, sets):{sign}.1f}"
        lines.append(f"| {title} | {' | '.join(own)} | {mean} |")
    return "\n".join(lines)


def short_table(found: Rows, sets: Sequence[str]) -> str:
    """Return the table of README: means over the sets, and in how many a step gains or loses."""
    lines = [
        "| masks | mIoU | boundary mIoU | sets that gain / lose mIoU |",
        "|---|---|---|---|",
    ]
    for step in SHORT:
        sign = "" if step == "k-means" else "+"
        means = [f"{mean_gain(found, step, score, sets):{sign}.1f}" for score in HEADLINES]
        last = "" if step == "k-means" else " / ".join(map(str, decided(found, step, sets)))
        lines.append(f"| {STEPS[step]} | {' | '.join(means)} | {last} |")
    return "\n".join(lines)


def decided(found: Rows, step: str, sets: Sequence[str]) -> tuple[int, int]:
    """Return in how many sets the interval of the mIoU lies above 0, and below it."""
    ends = [
        np.mean([row["gains"]["mIoU"] for row in found[name, step]], axis=0)[1:] for name in sets
    ]
    return sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)


def student_table(found: Rows, sets: Sequence[str]) -> str:
    """Return what is told of the students: agreement, and whether they would have been used."""
    lines = ["| student | " + " | ".join(sets) + " |", "|---|" + "---|" * len(sets)]
    for number in (1, 2):
        step = f"loop, round {number}, coarse"
        cells = []
        for name in sets:
            rows = found[name, step]
            agreed = 100 * np.mean([row["agreement"] for row in rows])
            refused = sum(bool(row["refused"]) for row in rows)
            cells.append(f"{agreed:.0f} %, refused {refused} of {len(rows)}")
        lines.append(f"| of round {number} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(found: Rows, over: Rows) -> str:
    """Return everything between the markers of docs/loop.md.

    Args:
        found: gains over k-means.
        over: gains over refining alone.
    """
    every = found
    found, further = split(every)
    sets = complete(found)
    others = [name for name in TABLE if (name, "k-means") in further]
    more = (
        ["Further seeds, the loop alone, mIoU:", table(further, "mIoU", others)] if others else []
    )
    more += ["and boundary mIoU:", table(further, "boundary_mIoU", others)] if others else []
    commits = {
        row["commit"][:7] for part in (found, further) for rows in part.values() for row in rows
    }
    first = found[sets[0], "k-means"][0]
    return "\n\n".join(
        [
            "mIoU in percent, and gains over k-means:",
            table(found, "mIoU", sets),
            "Boundary mIoU:",
            table(found, "boundary_mIoU", sets),
            *more,
            "What retraining adds to refining alone: mIoU over that of the refined clusters,",
            table(over, "mIoU", sets),
            "and boundary mIoU:",
            table(over, "boundary_mIoU", sets),
            "Agreement of the students with masks held back, and how many the guard of "
            "`uosam loop` would have refused (here it was off):",
            student_table(every, sets),
            f"Commit {', '.join(sorted(commits))}, {first['time'][:10]}, Python {first['python']}, "
            f"{first['cores']} cores, {first['cpu']}.",
        ]
    )


def complete(found: Rows) -> list[str]:
    """Return the sets that have every step, in order.

    Raises:
        InputError: none has.
    """
    sets = [name for name in TABLE if all((name, step) in found for step in STEPS)]
    if not sets:
        raise InputError("no set has all steps, run benchmarks.loop first")
    return sets


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def draw(result: LoopResult, width: int = 128) -> Image:
    """Return a sheet: a row for each picture, then its masks of every round and the kept one."""
    rows = []
    for sample in result.samples:
        assert sample.image is not None  # every sample of a loop has a picture
        assert sample.coarse is not None
        image = read_image(sample.image)
        masks = [
            path
            for stage in result.stages
            for path in (stage.coarse_file(sample), stage.refined_file(sample))
        ]
        masks.append(result.masks / f"{sample.name}{sample.coarse.suffix}")
        drawn = [image]
        for path in masks:
            labels = read_labels(path, background=None).labels
            drawn.append(draw_labels(image, labels, background=None, alpha=0.6))
        size = (width, round(image.shape[0] * width / image.shape[1]))
        small = [cv2.resize(panel, size, interpolation=cv2.INTER_AREA) for panel in drawn]
        rows.append(np.hstack([np.pad(panel, ((2, 2), (2, 2), (0, 0))) for panel in small]))
    return np.asarray(np.vstack(rows), np.uint8)


def draw_picture(path: Path) -> None:
    """Run the loop on the pictures of ``examples/`` and write its sheet."""
    with tempfile.TemporaryDirectory() as folder:
        options = LoopOptions(rounds=2, k=6, student=STUDENT)
        result = run_loop(TOP / "examples" / "images", Path(folder) / "out", options)
        sheet = draw(result)
    PIL.Image.fromarray(sheet).save(path, quality=80, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", action="store_true", help="draw the picture, write no table")
    if parser.parse_args().picture:
        draw_picture(PICTURE)
        return
    found = read(RESULTS)
    over = read(RESULTS, "loop over refined")
    whole = split(found)[0]
    for path, inner in ((PAGE, page(found, over)), (README, short_table(whole, complete(whole)))):
        path.write_text(fill(path.read_text(encoding="utf-8"), inner, "loop"), encoding="utf-8")


if __name__ == "__main__":
    main()
