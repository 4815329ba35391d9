"""The seam of every command over folders: what it does to one sample, and what became of it.

A command is a ``Task``: which files a sample has, and how it is read, computed and encoded. The
engine does the rest for all of them alike: resume, failures, digests, workers, atomic writes.
"""

from __future__ import annotations

import abc
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from uosam.errors import InputError, UosamError
from uosam.io.images import read_head
from uosam.io.stores.mounts import as_given, fetch, mounts, put, release, remove
from uosam.runs.manifest import file_digest
from uosam.runs.rows import Row
from uosam.structures import Sample
from uosam.text import explain

_TURNED = (
    "picture has an EXIF orientation and was taken as it is stored; if it lies on its side, store "
    "it upright"
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoded:
    """What is to be written of one sample.

    Attributes:
        data: bytes of the output.
        extras: bytes of further files by path; written before the output, so that a sample with an
            output is whole.
        status: what became of it; a key of ``Task.titles``.
        notes: what a reader of the result must know, the same words for every sample it is true of.
        details: further entries of its line of the manifest; must not depend on time.
        seconds: wall time by stage.
    """

    data: bytes
    extras: Mapping[Path, bytes] = field(default_factory=dict)
    status: str
    notes: Sequence[str] = ()
    details: Row = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


class Task(abc.ABC):
    """What a command does to one sample; a value that travels to the workers once.

    Attributes:
        titles: what the summary calls each status and each counted entry of the manifest, in the
            order in which they are shown.
        statuses: those titles that are statuses of samples.
        reasons: those titles whose entries are numbers by reason; the others are numbers.
        turns: whether the task sees to pictures with an EXIF orientation; of others it is said that
            they are taken as they are stored.
    """

    titles: ClassVar[Mapping[str, str]]
    statuses: ClassVar[tuple[str, ...]]
    reasons: ClassVar[tuple[str, ...]] = ()
    turns: ClassVar[bool] = False

    @property
    def workers(self) -> int:
        """Processes that work at it, each with its own model."""
        return 1

    @property
    def batch(self) -> int:
        """Samples computed at a time in one process."""
        return 1

    @property
    def forks(self) -> bool:
        """Whether the loaded model may be shared with forked processes: it uses the CPU alone."""
        return False

    @property
    def overwrite(self) -> bool:
        """Whether results of other settings are replaced."""
        return False

    @property
    @abc.abstractmethod
    def out(self) -> Path:
        """Folder of the outputs and of the manifest."""

    @abc.abstractmethod
    def header(self) -> Row:
        """Return everything that determines an output besides the files of the sample."""

    @abc.abstractmethod
    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return the files of a sample by what they are ("image", "mask", ...)."""

    @abc.abstractmethod
    def output(self, sample: Sample) -> Path:
        """Return where the output of a sample goes."""

    def extras(self, sample: Sample) -> Sequence[Path]:
        """Return which further files a finished sample has."""
        return ()

    @abc.abstractmethod
    def load(self) -> Any:
        """Load the model; an error here ends the run."""

    @abc.abstractmethod
    def read(self, sample: Sample) -> Any:
        """Read the files of a sample."""

    @abc.abstractmethod
    def compute(self, model: Any, read: Any) -> Any:
        """Turn what was read into a result."""

    @abc.abstractmethod
    def encode(self, sample: Sample, read: Any, result: Any) -> Encoded:
        """Encode a result as files and a line of the manifest."""

    def fits(self, row: Row) -> bool:
        """Tell whether a line of a manifest says what ``encode`` would; it may be anyone's."""

        def is_count(value: object) -> bool:
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0

        counted = [key for key in self.titles if key not in self.statuses]
        notes = row.get("notes", [])
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            return False
        return row.get("status") in self.statuses and all(
            isinstance(row.get(key), dict) and all(map(is_count, row[key].values()))
            if key in self.reasons
            else is_count(row.get(key))
            for key in counted
        )

    def together(self, model: Any, works: Sequence[Callable[[Any], Any]]) -> list[Any]:
        """Call functions of the model, one a sample; in shared batches where the model can."""
        return [work(model) for work in works]


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


@dataclass(frozen=True, eq=False, kw_only=True)
class Inputs:
    """The files of one sample in memory, their digests, notes, and how long reading them took."""

    read: Any
    notes: tuple[str, ...]
    digests: Mapping[str, str]
    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Computed:
    """One sample in memory: what was read, and what came of it."""

    inputs: Inputs
    result: Any


def read_one(task: Task, sample: Sample, done: Row | None) -> Inputs | Outcome:
    """Read the files of one sample, unless an earlier run has done it; never an error."""
    release(_files(task, sample))  # copies that a killed run left may be old
    if done is not None and is_good(task, sample, done):
        release(_files(task, sample))
        return Outcome(row=done, skipped=True)
    try:
        start = time.perf_counter()
        paths = task.inputs(sample)
        fetch(paths.values())
        before = {path: _state(path) for path in paths.values()}
        read = task.read(sample)
        head = read_head(paths["image"]) if "image" in paths and not task.turns else None
        digests = {key: file_digest(path) for key, path in paths.items()}
        for path, state in before.items():
            if _state(path) != state:
                raise InputError(f"{path}: changed while it was read; run again once it is whole")
        return Inputs(
            read=read,
            notes=(_TURNED,) if head is not None and head[1] != 1 else (),
            digests=digests,
            seconds=time.perf_counter() - start,
        )
    except Exception as error:  # also the unforeseen: thousands of others wait
        return failure(task, sample, done, error)


def compute_one(
    task: Task, sample: Sample, done: Row | None, read: Inputs | Outcome, model: Any
) -> Computed | Outcome:
    """Compute in memory from what was read; never an error."""
    if isinstance(read, Outcome):
        return read
    try:
        return Computed(inputs=read, result=task.compute(model, read.read))
    except Exception as error:
        return failure(task, sample, done, error)


def write_one(
    task: Task, sample: Sample, done: Row | None, computed: Computed | Outcome
) -> Outcome:
    """Write what was computed and tell what became of the sample; never an error."""
    if isinstance(computed, Outcome):
        return computed
    try:
        start = time.perf_counter()
        encoded = task.encode(sample, computed.inputs.read, computed.result)
        notes = [*encoded.notes, *computed.inputs.notes]
        for path, data in encoded.extras.items():
            put(path, data)
        output = task.output(sample)
        put(output, encoded.data)
        release(_files(task, sample))
        digests = {f"{key}_sha256": value for key, value in computed.inputs.digests.items()}
        row: Row = {
            "name": sample.name,
            "output": output.relative_to(task.out).as_posix(),
            "status": encoded.status,
            **encoded.details,
            **({"notes": notes} if notes else {}),
            **{key: digests.pop(key) for key in ("image_sha256", "mask_sha256") if key in digests},
            "output_sha256": hashlib.sha256(encoded.data).hexdigest(),
            **digests,
        }
        seconds = {"read": computed.inputs.seconds, **encoded.seconds}
        return Outcome(row=row, seconds={**seconds, "write": time.perf_counter() - start})
    except Exception as error:
        return failure(task, sample, done, error)


def failure(task: Task, sample: Sample, done: Row | None, error: Exception) -> Outcome:
    """Record a sample as failed; the result of an input that has changed since goes."""
    if done is not None:
        with suppress(OSError, UosamError):
            remove(task.output(sample))
    release(_files(task, sample))
    return Outcome(row={"name": sample.name, "error": as_given(explain(error))})


def is_good(task: Task, sample: Sample, row: Row) -> bool:
    """Tell whether the recorded result is there, whole, and of these very inputs."""
    try:
        output = task.output(sample)
        digests = {f"{key}_sha256": path for key, path in task.inputs(sample).items()}
        digests["output_sha256"] = output
        fetch([*digests.values(), *task.extras(sample)])
        recorded = {key for key in row if key.endswith("_sha256")}
        return (
            task.fits(row)
            and row.get("output") == output.relative_to(task.out).as_posix()
            and recorded == set(digests)
            and all(path.is_file() for path in (output, *task.extras(sample)))
            and all(row[key] == file_digest(path) for key, path in digests.items())
        )
    except (OSError, UosamError):
        return False


def _files(task: Task, sample: Sample) -> list[Path]:
    """Return all files of a sample, as far as they are known, if any can lie in a store."""
    if not mounts():
        return []
    with suppress(UosamError):
        return [*task.inputs(sample).values(), task.output(sample), *task.extras(sample)]
    return []


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None  # whoever reads it says why
    return found.st_ino, found.st_size, found.st_mtime_ns
