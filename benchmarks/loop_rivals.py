"""The loop and what stands beside it, each from the same first masks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from uosam.baselines.dense_crf import dense_crf
from uosam.baselines.samrefiner import refine_samrefiner

from uosam.backends import load_backend
from uosam.config import Config
from uosam.evaluation.rounds.keep import KeepTask, Stage, keep_best
from uosam.evaluation.rounds.loop import LoopOptions, run_loop
from uosam.evaluation.rounds.record import count_ids, refuse
from uosam.io.codecs import LabelOptions, read_labels, write_labels
from uosam.io.images import read_image
from uosam.io.pairs import find_pairs, find_pictures
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions
from uosam.runs.refine import refine_folder
from uosam.structures import Image, LabelMap
from uosam.training.student.command import retrain
from uosam.training.student.options import StudentOptions

Steps = dict[str, tuple[Path, float]]
"""Folder of masks, and processor seconds of the rival as a whole, by step."""
Notes = dict[str, dict[str, Any]]
"""What is told of students by step: agreement, and why ``uosam loop`` would not have used them."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One set of pictures with one seed.

    Attributes:
        work: folder of everything.
        classes: clusters that are found.
        rounds: how often a student is taught.
        config: of ``refine``.
        student: how it is taught.
        given: whether the first masks lie in ``given``, 0 their background, instead of clusters.
    """

    work: Path
    classes: int
    rounds: int
    config: Config
    student: StudentOptions
    given: bool = False

    @property
    def images(self) -> Path:
        """Folder of pictures."""
        return self.work / "images"

    @property
    def first(self) -> Path:
        """Folder of the masks that all begin with."""
        return self.work / ("given" if self.given else "clusters")

    @property
    def refined(self) -> Path:
        """Folder of the first masks as the loop refines them."""
        return self.work / "loop" / "round-0" / "refined"

    @property
    def labels(self) -> LabelOptions:
        """How masks are read."""
        return LabelOptions(background=0 if self.given else "none")


def begin(run: Run) -> Steps:
    """Find the clusters, unless they are there or masks are given."""
    if run.given:
        return {"given": (run.first, 0.0)}
    settings = {"seed": run.student.seed, "side": run.student.side, "classes": run.classes}
    model = CoarseOptions(
        model="clusters", settings=settings, device="cpu", scores=str(run.work / "scores")
    )
    start = time.process_time()
    label_folder(find_pictures(run.images)[0], run.first, model)
    return {"k-means": (run.first, time.process_time() - start)}


def loop(run: Run, refines: bool = True) -> tuple[Steps, Notes]:
    """Run ``uosam loop`` without its guard."""
    name = "loop" if refines else "no refining"
    config = replace(run.config, labels=replace(run.config.labels, **_background(run)))
    options = LoopOptions(
        rounds=run.rounds,
        masks=run.first,
        config=config,
        student=run.student,
        refines=refines,
        guards=False,
    )
    start = time.process_time()
    result = run_loop(run.images, run.work / name, options)
    seconds = time.process_time() - start
    steps: Steps = {}
    notes: Notes = {}
    for number, stage in enumerate(result.stages):
        own = f"{name}, round {number}"
        agreed = result.rounds[number].agreement
        if stage.coarse is not None and agreed is not None:
            steps[f"{own}, coarse"] = (stage.coarse, seconds)
            counts = count_ids(number, run.work / name, run.labels, result.samples)
            notes[f"{own}, coarse"] = {"agreement": agreed, "refused": refuse(agreed, counts)}
        if stage.refined is not None:
            steps[f"{own}, refined"] = (stage.refined, seconds)
    steps[f"{name}, kept"] = (result.masks, seconds)
    return steps, notes


def without_refining(run: Run) -> tuple[Steps, Notes]:
    """Teach students the clusters themselves."""
    return loop(run, refines=False)


def four_rounds(run: Run) -> tuple[Steps, Notes]:
    """Refine four times, each from the map before, and retrain nothing."""
    region = replace(run.config.refine.local_region, rounds=4)
    config = replace(
        run.config,
        refine=replace(run.config.refine, local_region=region),
        labels=replace(run.config.labels, **_background(run)),
    )
    start = time.process_time()
    out = run.work / "four rounds"
    refine_folder(find_pairs(run.images, run.first), out, config)
    return {"refined in four rounds": (out, time.process_time() - start)}, {}


def crf(run: Run) -> tuple[Steps, Notes]:
    """Smooth the scores of the clusters with a dense CRF."""
    start = time.process_time()
    for path in sorted(run.first.glob("*.png")):
        shares = np.load(run.work / "scores" / f"{path.stem}.npy").astype(np.float32)
        sharp = dense_crf(np.log(np.clip(shares, 1e-5, 1)), read_image(run.images / path.name))
        spec = read_labels(path, background=None, ignore=None).spec
        write_labels(run.work / "dense CRF" / path.name, sharp.argmax(0).astype(np.int32), spec)
    return {"dense CRF": (run.work / "dense CRF", time.process_time() - start)}, {}


def samrefiner(run: Run) -> tuple[Steps, Notes]:
    """Refine the first masks with SAMRefiner's prompts and the same segmenter."""
    out = run.work / "SAMRefiner" / "round-0" / "refined"
    seconds = refine_with(_samrefiner(run), run.images, run.first, out)
    return {"SAMRefiner": (out, seconds)}, {}


def samrefiner_loop(run: Run) -> tuple[Steps, Notes]:
    """Run the loop with SAMRefiner's prompts wherever it refines.

    SAMRefiner tells no confidence: what is kept is decided by agreement alone, and a student is
    told of a pixel how many rounds say the same.
    """
    name, out = "SAMRefiner loop", run.work / "SAMRefiner"
    start = time.process_time()
    samples = find_pairs(run.images, run.first).samples
    steps: Steps = {}
    notes: Notes = {}
    stages: list[Stage] = []
    for number in range(run.rounds + 1):
        folder = out / f"round-{number}"
        coarse = folder / "coarse" if number else None
        if coarse is not None:
            before = out / f"round-{number - 1}"
            taught = retrain(
                run.images,
                before / "kept",
                folder / "student",
                run.student,
                labels=run.labels,
                confidence=before / "sure",
            )
            model = CoarseOptions(model="student", checkpoint=str(taught.weights), device="cpu")
            label_folder(find_pictures(run.images)[0], coarse, model)
            counts = count_ids(number, out, run.labels, samples)
            note = {"agreement": taught.agreement, "refused": refuse(taught.agreement, counts)}
            notes[f"{name}, round {number}, coarse"] = note
            steps[f"{name}, round {number}, coarse"] = (coarse, 0.0)
        refined = folder / "refined"
        if not refined.is_dir():
            refine_with(_samrefiner(run), run.images, coarse or run.first, refined)
        if number:
            steps[f"{name}, round {number}, refined"] = (refined, 0.0)
        stages.append(Stage(coarse=coarse, refined=refined, confidence=None))
        task = KeepTask(
            folder=folder / "kept",
            confidence=folder / "sure",
            stages=tuple(stages),
            labels=run.labels,
        )
        keep_best(samples, task)
    steps[f"{name}, kept"] = (folder / "kept", 0.0)
    seconds = time.process_time() - start
    return {step: (path, seconds) for step, (path, _) in steps.items()}, notes


RIVALS: dict[str, Callable[[Run], tuple[Steps, Notes]]] = {
    "loop": loop,
    "dense CRF": crf,
    "SAMRefiner": samrefiner,
    "four rounds": four_rounds,
    "no refining": without_refining,
    "SAMRefiner loop": samrefiner_loop,
}
"""What can be run; the loop first, since gains over its refined masks are told of all."""


def refine_with(
    method: Callable[[Image, LabelMap], LabelMap], images: Path, masks: Path, out: Path
) -> float:
    """Refine a folder with a rival; return processor seconds."""
    start = time.process_time()
    for path in sorted(masks.glob("*.png")):
        found = read_labels(path, background=None, ignore=None)
        labels = method(read_image(images / path.name), found.labels)
        write_labels(out / path.name, labels, found.spec)
    return time.process_time() - start


def _samrefiner(run: Run) -> Callable[[Image, LabelMap], LabelMap]:
    backend = load_backend(run.config.backend)
    background = 0 if run.given else None
    return lambda image, labels: refine_samrefiner(image, labels, backend, background=background)


def _background(run: Run) -> dict[str, Any]:
    return {"background": run.labels.background}
