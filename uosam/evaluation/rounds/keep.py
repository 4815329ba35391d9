"""Keep the best labels of every picture: the task behind the last step of a round."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import PIL.Image

import uosam
from uosam.errors import InputError
from uosam.evaluation.rounds.choice import Choice, choose, overlap
from uosam.io.codecs import LabelFile, LabelOptions, encode_labels, read_with
from uosam.report.overlay import to_grey
from uosam.runs.engine import run_folder
from uosam.runs.rows import Row
from uosam.runs.summary import Run
from uosam.runs.task import Encoded, Outcome, Task
from uosam.structures import Floats, Sample


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The folders of one round.

    Attributes:
        coarse: what the model of the round says; None for the masks of the samples.
        refined: what refining makes of it; None if nothing is refined.
        confidence: how sure refining is; None without.
    """

    coarse: Path | None
    refined: Path | None
    confidence: Path | None

    def coarse_file(self, sample: Sample) -> Path:
        """Return the coarse mask of a sample, which has one."""
        assert sample.coarse is not None  # KeepTask.inputs asks for it
        return sample.coarse if self.coarse is None else self.coarse / f"{sample.name}.png"

    def refined_file(self, sample: Sample) -> Path:
        """Return the refined mask of a sample: of the coarse one's suffix."""
        coarse = self.coarse_file(sample)
        return coarse if self.refined is None else self.refined / f"{sample.name}{coarse.suffix}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Read:
    """The refined masks of a picture of all rounds, and the newest round's coarse mask."""

    files: tuple[LabelFile, ...]
    coarse: LabelFile
    sure: tuple[Floats, ...]


@dataclass(frozen=True, kw_only=True)
class KeepTask(Task):
    """Keep the best of what the refined masks of a picture say so far.

    Attributes:
        folder: of the masks that are kept.
        confidence: folder of their confidence: the mean of that of refining over the rounds, 0 of
            those that say something else.
        stages: of all rounds so far.
        labels: how the masks are read.
    """

    titles: ClassVar[Mapping[str, str]] = {"kept": "kept"}
    statuses: ClassVar[tuple[str, ...]] = ("kept",)
    folder: Path
    confidence: Path
    stages: tuple[Stage, ...]
    labels: LabelOptions

    @property
    def out(self) -> Path:
        """Folder of the masks."""
        return self.folder

    def header(self) -> Row:
        """Return the version, and what is chosen from by which rule."""
        settings = {
            "rounds": len(self.stages),
            "background": self.labels.background,
            "rule": "surest together",
        }
        return {"uosam": uosam.__version__, "weights": "none", "settings": settings}

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return the picture and its masks."""
        if sample.image is None or sample.coarse is None:
            raise InputError(f"sample {sample.name!r} must have a picture and a mask")
        files = {"image": sample.image}
        for index, stage in enumerate(self.stages):
            files[f"refined_{index}"] = stage.refined_file(sample)
            if stage.confidence is not None:
                files[f"sure_{index}"] = stage.confidence / f"{sample.name}.png"
        files["coarse"] = self.stages[-1].coarse_file(sample)
        return files

    def output(self, sample: Sample) -> Path:
        """Return where the mask goes: the name and suffix of the first one."""
        assert sample.coarse is not None  # inputs asks for it
        return self.folder / f"{sample.name}{sample.coarse.suffix}"

    def extras(self, sample: Sample) -> Sequence[Path]:
        """Return where the confidence goes."""
        return (self.confidence / f"{sample.name}.png",)

    def load(self) -> None:
        """Load nothing: files say it all."""

    def read(self, sample: Sample) -> Read:
        """Read the masks."""
        files = self.inputs(sample)
        own = (self.labels, *[replace(self.labels, codec="auto")] * (len(self.stages) - 1))
        masks = [read_with(files[f"refined_{index}"], labels) for index, labels in enumerate(own)]
        return Read(
            files=tuple(masks),
            coarse=read_with(files["coarse"], own[-1]),
            sure=tuple(
                _read_sure(files.get(f"sure_{index}"), file.labels.shape)
                for index, file in enumerate(masks)
            ),
        )

    def compute(self, model: None, read: Read) -> tuple[Choice, float]:
        """Choose, and tell the seconds it took."""
        start = time.perf_counter()
        choice = choose([file.labels for file in read.files], read.sure)
        return choice, time.perf_counter() - start

    def encode(self, sample: Sample, read: Read, result: Any) -> Encoded:
        """Encode the kept mask as the first one was, and its confidence."""
        choice, seconds = result
        first = read.files[0]
        buffer = io.BytesIO()
        PIL.Image.fromarray(to_grey(choice.support)).save(buffer, "PNG")
        before = read.files[max(0, len(read.files) - 2)].labels
        newest = read.files[-1].labels
        return Encoded(
            data=encode_labels(
                self.output(sample).suffix, choice.labels, first.spec, scores=first.stored
            ),
            extras={self.extras(sample)[0]: buffer.getvalue()},
            status="kept",
            details={
                "shares": [round(value, 4) for value in choice.shares],
                "agreements": [round(value, 4) for value in choice.agreements],
                "confidences": [round(value, 4) for value in choice.confidences],
                "refiner": round(overlap(read.coarse.labels, newest), 4),
                "changed": round(float((before != newest).mean()), 4),
            },
            seconds={"choose": seconds},
        )


def _read_sure(path: Path | None, hw: tuple[int, ...]) -> Floats:
    """Read confidence in [0, 1]; without a file everything is sure."""
    if path is None:
        return np.ones(hw, np.float32)
    found = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if found is None or found.shape != hw:
        raise InputError(f"{path}: expected a confidence map of {hw}, found none; start anew")
    return np.asarray(found / 255, np.float32)


def keep_best(
    samples: Sequence[Sample],
    task: KeepTask,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Keep the best labels of every picture that has a mask in every round.

    Raises:
        ConfigError: the folder holds other results.
        InputError: it cannot be written.
    """
    return run_folder(task, samples, on_outcome=on_outcome)
