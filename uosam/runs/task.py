"""One sample of a run, from paths to a written mask and its line of the manifest."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uosam.backends import BackendOptions, load_backend
from uosam.backends.sharing import BatchingBackend, work_together
from uosam.backends.weights.cache import open_cache, remember
from uosam.config import Config, EngineOptions
from uosam.errors import InputError, UosamError
from uosam.io.atomic import write_atomic
from uosam.io.codecs import LabelFile, encode_labels, read_with
from uosam.io.images import check_same_size, read_image
from uosam.io.soft import find_scores, read_scores
from uosam.pipeline import refine
from uosam.report.overlay import encode_confidence, encode_overlay
from uosam.runs.manifest import Row, file_digest
from uosam.structures import Backend, Image, Refinement, Sample


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every sample of a run shares; travels to the workers.

    Attributes:
        out: folder of the refined masks.
        config: all settings.
    """

    out: Path
    config: Config


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one sample.

    Attributes:
        row: its line of the manifest; holds "error" if it failed.
        skipped: the result of an earlier run was still good.
        seconds: wall time by stage; empty if skipped.
    """

    row: Row
    skipped: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _backend(options: BackendOptions, engine: EngineOptions) -> Backend:
    """Build the model once in the process that uses it."""
    backend = load_backend(options)
    torch = sys.modules.get("torch")
    if torch is not None and engine.workers > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // engine.workers))
    if engine.embedding_cache == "always":
        remember(backend, options, open_cache(engine.embedding_cache_gb))
    return backend


def refine_one(job: Job, sample: Sample, done: Row | None) -> Outcome:
    """Refine one sample, or tell why not; only a model that does not load ends the run."""
    return write_one(job, sample, done, compute_one(job, sample, done, read_one(job, sample, done)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Inputs:
    """The files of one sample in memory, and how long reading them took."""

    image: Image
    file: LabelFile
    soft: Path | None
    scores: NDArray[np.float32] | None
    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Refined:
    """One sample in memory: what was read, and what became of it."""

    inputs: Inputs
    result: Refinement


def read_one(job: Job, sample: Sample, done: Row | None) -> Inputs | Outcome:
    """Read the files of one sample, unless an earlier run has done it; never an error."""
    if done is not None and _is_good(job, sample, done):
        return Outcome(row=done, skipped=True)
    try:
        return _read(job, sample)
    except Exception as error:  # also the unforeseen: thousands of others wait
        return _failure(job, sample, done, error)


def compute_several(
    job: Job, tasks: Sequence[tuple[Sample, Row | None]], reads: Sequence[Inputs | Outcome]
) -> list[Refined | Outcome]:
    """Refine several samples as ``compute_one`` does, in shared batches if the model can."""
    works = [
        partial(compute_one, job, *task, read) for task, read in zip(tasks, reads, strict=True)
    ]
    if sum(isinstance(read, Inputs) for read in reads) > 1:
        backend = _backend(job.config.backend, job.config.engine)
        if isinstance(backend, BatchingBackend):
            return work_together(works, backend)
    return [work() for work in works]


def compute_one(
    job: Job,
    sample: Sample,
    done: Row | None,
    read: Inputs | Outcome,
    backend: Backend | None = None,
) -> Refined | Outcome:
    """Refine in memory what was read; only a model that does not load is an error."""
    if isinstance(read, Outcome):
        return read
    if backend is None:
        backend = _backend(job.config.backend, job.config.engine)
    try:
        result = refine(
            read.image,
            read.file.labels,
            backend,
            job.config.refine,
            background=read.file.spec.background,
            scores=read.scores,
        )
    except Exception as error:
        return _failure(job, sample, done, error)
    return Refined(inputs=read, result=result)


def write_one(job: Job, sample: Sample, done: Row | None, refined: Refined | Outcome) -> Outcome:
    """Write what was refined and tell what became of the sample; never an error."""
    if isinstance(refined, Outcome):
        return refined
    try:
        return _write(job, sample, refined)
    except Exception as error:
        return _failure(job, sample, done, error)


def _failure(job: Job, sample: Sample, done: Row | None, error: Exception) -> Outcome:
    if done is not None:
        # The result of an input that has changed since must not stand for the new one.
        with suppress(OSError):
            output_path(job, sample).unlink(missing_ok=True)
    return Outcome(row={"name": sample.name, "error": explain(error)})


def _read(job: Job, sample: Sample) -> Inputs:
    start = time.perf_counter()
    image_path, mask_path = _paths(sample)
    file = read_with(mask_path, job.config.labels)
    image = read_image(image_path)
    check_same_size(image_path, image.shape[:2], mask_path, file.labels.shape)
    soft = _scores_path(job, sample)
    scores = file.scores if soft is None else read_scores(soft, file.labels)
    seconds = time.perf_counter() - start
    return Inputs(image=image, file=file, soft=soft, scores=scores, seconds=seconds)


def _write(job: Job, sample: Sample, refined: Refined) -> Outcome:
    start = time.perf_counter()
    image_path, mask_path = _paths(sample)
    read, result = refined.inputs, refined.result
    file = read.file
    for path, encode in _extras(job, sample):
        write_atomic(path, encode(read.image, file.labels, result, file.spec))
    data = encode_labels(mask_path.suffix, result.labels, file.spec, scores=file.stored)
    write_atomic(output_path(job, sample), data)
    rejected = Counter(choice.reason for choice in result.verdicts if not choice.accepted)
    row: Row = {
        "name": sample.name,
        "output": sample.name + mask_path.suffix,
        "status": "kept" if np.array_equal(result.labels, file.labels) else "refined",
        "accepted": sum(choice.accepted for choice in result.verdicts),
        "rejected": dict(sorted(rejected.items())),
        "image_sha256": file_digest(image_path),
        "mask_sha256": file_digest(mask_path),
        "output_sha256": hashlib.sha256(data).hexdigest(),
    }
    if read.soft is not None:
        row["scores_sha256"] = file_digest(read.soft)
    write = time.perf_counter() - start
    seconds = {"read": read.seconds, **result.seconds, "write": write}
    return Outcome(row=row, seconds=seconds)


def _extras(job: Job, sample: Sample) -> list[tuple[Path, Callable[..., bytes]]]:
    """Return what is drawn beside the mask: path and function that encodes it."""
    engine = job.config.engine
    extras: list[tuple[Path, Callable[..., bytes]]] = []
    if engine.overlay:
        extras.append((Path(engine.overlay) / f"{sample.name}.jpg", encode_overlay))
    if engine.confidence:
        extras.append((Path(engine.confidence) / f"{sample.name}.png", encode_confidence))
    return extras


def _is_good(job: Job, sample: Sample, row: Row) -> bool:
    """Tell whether the recorded result is there, whole, and of these very inputs."""
    try:
        image_path, mask_path = _paths(sample)
        output = output_path(job, sample)
        soft = _scores_path(job, sample)
        return (
            row.get("output") == sample.name + mask_path.suffix
            and output.is_file()
            and all(path.is_file() for path, _ in _extras(job, sample))
            and row.get("output_sha256") == file_digest(output)
            and row.get("mask_sha256") == file_digest(mask_path)
            and row.get("image_sha256") == file_digest(image_path)
            and row.get("scores_sha256") == (soft and file_digest(soft))
        )
    except (OSError, UosamError):
        return False


def output_path(job: Job, sample: Sample) -> Path:
    """Return where the refined mask of a sample goes."""
    _, mask = _paths(sample)
    return job.out / (sample.name + mask.suffix)


def _scores_path(job: Job, sample: Sample) -> Path | None:
    folder = job.config.labels.scores
    return None if folder is None else find_scores(Path(folder), sample.name)


def _paths(sample: Sample) -> tuple[Path, Path]:
    if sample.image is None or sample.coarse is None:
        raise InputError(f"sample {sample.name!r} must have a picture and a coarse mask")
    return sample.image, sample.coarse


def explain(error: BaseException) -> str:
    """Say in one line what went wrong; an error that nobody foresaw tells its place.

    >>> explain(OSError(28, "No space left on device", "out/a.png"))
    'out/a.png: No space left on device'
    """
    if isinstance(error, UosamError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        text = f"unexpected {type(error).__name__}{place}: {error}; please report this"
    # A file name need not be valid text; what is shown and stored must be.
    return " ".join(text.encode(errors="backslashreplace").decode().split())
