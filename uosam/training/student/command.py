"""Teach in a folder: the whole of ``uosam retrain`` but the words it prints."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from uosam.io.codecs import LabelOptions
from uosam.io.outputs import check_folders
from uosam.io.pairs import find_pairs
from uosam.training.student.lessons import read_lessons
from uosam.training.student.options import StudentOptions
from uosam.training.student.run import Teaching


@dataclass(frozen=True, kw_only=True)
class Taught:
    """What came of it.

    Attributes:
        weights: the student's file, a model of ``uosam coarse``.
        pictures: that were taught or asked.
        ids: that the masks have.
        held: pictures that were not taught; if 0, those that were taught were asked.
        steps: that were done, those of earlier parts of the run included.
        agreement: mean IoU of its answers with the masks of the pictures asked, in [0, 1].
    """

    weights: Path
    pictures: int
    ids: int
    held: int
    steps: int
    agreement: float


def retrain(
    images: Path,
    masks: Path,
    out: Path,
    options: StudentOptions,
    *,
    labels: LabelOptions | None = None,
    confidence: Path | None = None,
    on_line: Callable[[str], None] = lambda line: None,
) -> Taught:
    """Teach a student the masks of a folder of pictures, or go on with a run that was stopped.

    Args:
        images: folder of pictures.
        masks: folder of their masks, of any encoding.
        out: folder of weights, state and log.
        options: of the run.
        labels: how the masks are read.
        confidence: folder of 8-bit confidence maps (``uosam refine --confidence``), or None.
        on_line: called with every line of the log.

    Raises:
        ConfigError: ``out`` lies in a folder that is only read.
        InputError: the folders hold no pairs, a file is unusable, or ``out`` holds another run.
        BackendError: weights to begin with or the device are missing.
        KeyboardInterrupt: the run was told to stop; the same call goes on.
    """
    check_folders({"output": out}, [images, masks])
    pairs = find_pairs(images, masks)
    lessons = read_lessons(
        pairs,
        labels or LabelOptions(),
        side=options.side,
        band=options.band,
        confidence=confidence,
    )
    digest = hashlib.sha256()
    for lesson in lessons.lessons:
        digest.update(lesson.name.encode(errors="surrogateescape"))
        for array in (lesson.image, lesson.labels, lesson.weights):
            digest.update(array.tobytes())
    run = Teaching(lessons, out, options, digest.hexdigest())
    if run.step:
        on_line(f"going on at step {run.step}")
    weights = run.train(on_line)
    return Taught(
        weights=weights,
        pictures=len(lessons.lessons),
        ids=lessons.ids,
        held=run.held,
        steps=run.step,
        agreement=run.best,
    )
