"""The loop: coarse, refine, retrain, coarse, refine ... and what is kept of it.

Every step is the call behind the command of its name, with its own resume. A student's channels
are the ids that it was taught, so an id means the same in every round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import uosam
from uosam.backends.imagenet.weights import find_weights
from uosam.config import Config
from uosam.errors import ConfigError, InputError
from uosam.evaluation.chain import Show
from uosam.evaluation.rounds.keep import KeepTask, Stage, keep_best
from uosam.evaluation.rounds.record import (
    RECORD,
    Round,
    count_ids,
    refuse,
    sum_up,
    write_record,
)
from uosam.io.atomic import write_atomic
from uosam.io.codecs import LabelOptions
from uosam.io.outputs import check_folders
from uosam.io.pairs import Pairs, find_pairs, find_pictures
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions, choose_clusters
from uosam.runs.refine import refine_folder
from uosam.structures import Sample
from uosam.training.student.command import Taught, retrain
from uosam.training.student.options import StudentOptions


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """The settings of all steps.

    Attributes:
        rounds: how often it is retrained, 0 or more.
        k: classes that are found at first; None if ``masks`` are given.
        masks: folder of masks to begin with, in place of k-means.
        settings: further ones of k-means.
        config: of ``refine``.
        student: of ``retrain``.
        refines: off, nothing is refined: what retraining alone does.
        guards: end before a student is used that lost ids or did not learn what it was taught.
    """

    rounds: int = 3
    k: int | None = None
    masks: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    config: Config = field(default_factory=Config)
    student: StudentOptions = field(default_factory=StudentOptions)
    refines: bool = True
    guards: bool = True

    def __post_init__(self) -> None:
        """Check what must be given.

        Raises:
            ConfigError: both or neither of ``k`` and ``masks``, or a number out of range.
        """
        if (self.k is None) == (self.masks is None):
            raise ConfigError(
                "a loop begins with K classes of k-means or with masks of yours; give --k K or "
                "--from MASKS, not both"
            )
        if self.rounds < 0:
            raise ConfigError(f"rounds must be at least 0, got {self.rounds}")


@dataclass(frozen=True, eq=False, kw_only=True)
class LoopResult:
    """What a loop wrote.

    Attributes:
        rounds: in order.
        masks: folder of the masks that were kept.
        samples: with the first masks they had.
        stages: folders of each round.
        failures: reason by name.
        refused: why the student after the last round was not used; empty if none was refused.
    """

    rounds: tuple[Round, ...]
    masks: Path
    samples: tuple[Sample, ...]
    stages: tuple[Stage, ...]
    failures: dict[str, str]
    refused: str


def run_loop(
    images: Path,
    out: Path,
    options: LoopOptions,
    *,
    show: Show = lambda total, verb: nullcontext(lambda outcome: None),
    on_line: Callable[[str], None] = lambda line: None,
) -> LoopResult:
    """Label, refine, retrain and repeat, or go on with a loop that was stopped.

    Writes ``round-N/coarse``, ``refined``, ``confidence``, ``kept`` and, from round 1 on,
    ``student``; ``masks`` with the best labels of every picture; ``loop.jsonl``.

    Args:
        images: folder of pictures.
        out: folder for everything.
        options: of all steps.
        show: how outcomes are shown.
        on_line: called with lines of the retraining.

    Raises:
        ConfigError: ``out`` lies in a folder that is only read, or holds results of other settings.
        InputError: there are no pictures, or too few could be labelled.
        BackendError: weights are missing.
        KeyboardInterrupt: the same call goes on.
    """
    check_folders({"output": out}, [images] if options.masks is None else [images, options.masks])
    if options.rounds and options.student.start == "imagenet":
        find_weights()  # better now than after the first round
    failures: dict[str, str] = {}
    samples, labels = _begin(images, out, options, show, failures)
    config = replace(options.config, labels=labels)
    rounds: list[Round] = []
    stages: list[Stage] = []
    taught: Taught | None = None
    refused = ""
    for number in range(options.rounds + 1):
        folder = out / f"round-{number}"
        counts: dict[tuple[int, int], int] = {}
        if number:
            taught = retrain(
                images,
                out / f"round-{number - 1}" / "kept",
                folder / "student",
                options.student,
                labels=labels,
                confidence=out / f"round-{number - 1}" / "sure",
                on_line=on_line,
            )
            model = CoarseOptions(
                model="student",
                checkpoint=str(taught.weights),
                device=options.student.device,
            )
            plain = [Sample(name=sample.name, image=sample.image) for sample in samples]
            with show(len(plain), "labelling") as on_outcome:
                run = label_folder(plain, folder / "coarse", model, on_outcome=on_outcome)
            failures |= run.failures
            counts = count_ids(number, out, labels, samples)
            refused = refuse(taught.agreement, counts) if options.guards else ""
            if refused:
                break
        stage = _refine(samples, folder, number, config, options, show, failures)
        stages.append(stage)
        samples = [sample for sample in samples if sample.name not in failures]
        task = KeepTask(
            folder=folder / "kept",
            confidence=folder / "sure",
            stages=tuple(stages),
            labels=labels,
        )
        with show(len(samples), "choosing") as on_outcome:
            failures |= keep_best(samples, task, on_outcome).failures
        rounds.append(sum_up(number, out, taught, counts, failures))
    result = LoopResult(
        rounds=tuple(rounds),
        masks=out / "masks",
        samples=tuple(samples),
        stages=tuple(stages),
        failures=failures,
        refused=refused,
    )
    _finish(out, options, result)
    return result


def _begin(
    images: Path, out: Path, options: LoopOptions, show: Show, failures: dict[str, str]
) -> tuple[list[Sample], LabelOptions]:
    """Return pictures with their first masks, and how all masks are read."""
    labels = options.config.labels
    if options.masks is not None:
        pairs = find_pairs(images, options.masks)
        if not pairs.samples:
            raise InputError(f"{options.masks}: expected masks of pictures in {images}, found none")
        failures |= pairs.unreadable
        return list(pairs.samples), labels
    pictures, unreadable = find_pictures(images)
    settings = {**options.settings, "classes": options.k}
    model = CoarseOptions(
        model=choose_clusters(settings), settings=settings, device=options.student.device
    )
    coarse = out / "round-0" / "coarse"
    with show(len(pictures), "labelling") as on_outcome:
        run = label_folder(pictures, coarse, model, unreadable=unreadable, on_outcome=on_outcome)
    failures |= run.failures
    samples = [
        replace(sample, coarse=coarse / f"{sample.name}.png")
        for sample in pictures
        if sample.name not in failures
    ]
    return samples, replace(labels, background="none")


def _refine(
    samples: Sequence[Sample],
    folder: Path,
    number: int,
    config: Config,
    options: LoopOptions,
    show: Show,
    failures: dict[str, str],
) -> Stage:
    """Refine the coarse masks of a round, or let them stand as they are."""
    coarse = folder / "coarse" if number else None
    if not options.refines:
        return Stage(coarse=coarse, refined=None, confidence=None)
    refined, sure = folder / "refined", folder / "confidence"
    own = [
        sample if coarse is None else replace(sample, coarse=coarse / f"{sample.name}.png")
        for sample in samples
        if sample.name not in failures
    ]
    if number:  # a student writes its own encoding
        config = replace(config, labels=replace(config.labels, codec="auto"))
    config = replace(config, engine=replace(config.engine, confidence=str(sure), manifest=None))
    with show(len(own), "refining") as on_outcome:
        run = refine_folder(Pairs(samples=own), refined, config, on_outcome=on_outcome)
    failures |= run.failures
    return Stage(coarse=coarse, refined=refined, confidence=sure)


def _finish(out: Path, options: LoopOptions, result: LoopResult) -> None:
    """Copy the kept masks of the last round, and write the one manifest."""
    for sample in result.samples:
        assert sample.coarse is not None  # every sample has its first mask
        name = f"{sample.name}{sample.coarse.suffix}"
        kept = out / f"round-{result.rounds[-1].number}" / "kept" / name
        write_atomic(out / "masks" / name, kept.read_bytes())
    header = {
        "uosam": uosam.__version__,
        "rounds": options.rounds,
        "k": options.k,
        "from": None if options.masks is None else str(options.masks),
        "settings": options.settings,
        "student": asdict(options.student),
        "refused": result.refused,
    }
    write_atomic(out / RECORD, write_record(header, result.rounds, out, result.failures))
