"""Work through a folder: in this process or in several, whole or from where a run stopped.

The one engine of all commands over folders; what is done to a sample is a ``Task``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, TypeVar

from uosam.errors import ConfigError, InputError
from uosam.io.atomic import write_atomic
from uosam.io.outputs import check_outputs
from uosam.io.stores.mounts import as_given, boxes, pull, push, put, release
from uosam.runs.journal import finish, manifest_path, open_journal, partial_path, record
from uosam.runs.manifest import NOTES
from uosam.runs.spread.launch import HERE, Spread
from uosam.runs.spread.workers import do_all
from uosam.runs.summary import Run, Tally, encode_summary
from uosam.runs.task import Outcome, Task
from uosam.structures import Sample
from uosam.text import explain

Item = TypeVar("Item")

_KEPT = 1000
"""Pictures after which the notes of a run are sent to the store of its outputs."""


def run_folder(
    task: Task,
    samples: Sequence[Sample],
    *,
    failures: Mapping[str, str] | None = None,
    unpaired: Sequence[str] = (),
    notes: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
    spread: Spread = HERE,
    inputs: Sequence[Path] = (),
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Do a task to every sample, skipping those that an earlier run has done.

    One bad sample is a recorded failure. Results do not depend on the number of workers nor on how
    often the run was stopped. A script that asks for several workers calls this below
    ``if __name__ == "__main__"``, since each worker imports the script anew.

    Args:
        task: what is done.
        samples: in order of name.
        failures: what is known to have failed before the start, reason by file or folder.
        unpaired: files that belong to no sample.
        notes: what a reader of the results must know.
        files: further files of the output folder by name, such as its settings.
        spread: which of the samples are done here.
        inputs: where the samples came from, for who looks at the results later.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: the output folder holds other results, or an output is an input of the run.
        InputError: the output folder cannot be written, or two outputs are one file.
        BackendError: the model cannot be loaded, or a worker process died.
    """
    start = time.perf_counter()
    if boxes() and (spread.shard is not None or spread.engine != "local"):
        raise ConfigError(
            f"{as_given(str(task.out))}: an archive is written by one machine in one run; give a "
            "folder, or leave out --shard and --engine"
        )
    _check_outputs(task, samples)
    header = task.header()
    tally = Tally(
        task=task,
        failures=dict(failures or {}),
        unpaired=list(unpaired),
        notes={note: [] for note in notes},
    )
    shard, chosen = spread.shard, spread.take(samples)
    manifest = manifest_path(task.out, shard)
    partial = partial_path(task.out, shard)
    noted: list[str] = []
    with suppress(OSError):  # told when the first output cannot be written
        noted = pull(task.out, NOTES)
    with (
        _keeping(task.out, partial.name),
        open_journal(task.out, header, overwrite=task.overwrite, shard=shard) as journal,
    ):
        work = ((sample, journal.find(sample.name)) for sample in chosen)
        for outcome in do_all(task, work, len(chosen), spread):
            if not outcome.skipped:
                record(journal, outcome.row)
            tally.add(outcome)
            on_outcome(outcome)
            journal.seen += 1
            if journal.seen % _KEPT == 0:
                with suppress(OSError):
                    push(task.out, [partial.name])
        try:
            for name, data in (files or {}).items():
                write_atomic(task.out / name, data)
            finish(journal)
            gone = [name for name in noted if not (task.out / name).exists()]  # of shards
            push(task.out, [manifest.name, *(files or {})], gone=[partial.name, *gone])
        except OSError as error:
            # The results are safe on disk or recorded as failed.
            tally.failures[manifest.name] = explain(error)
    run = tally.sum_up(time.perf_counter() - start)
    with suppress(OSError):
        name = f"summary{'' if shard is None else shard.suffix}.json"
        put(task.out / name, encode_summary(run, header, inputs))
        if manifest.name not in tally.failures:  # else this machine alone has it
            release(task.out / own for own in (name, manifest.name, *noted, *(files or {})))
    return run


@contextmanager
def _keeping(out: Path, partial: str) -> Iterator[None]:
    """Send what a run has noted to the store of its outputs, however the run ends."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            push(out, [partial])
        raise


def _check_outputs(task: Task, samples: Sequence[Sample]) -> None:
    """Refuse to write over an input of the run, out of the folder, or twice to one file."""

    def each(files: Callable[[Sample], Iterable[Item]]) -> Iterator[Item]:
        for sample in samples:
            with suppress(InputError):  # recorded when its turn comes
                yield from list(files(sample))

    outputs = _Again(lambda: each(lambda sample: [(task.output(sample), sample.name)]))
    extras = _Again(lambda: each(lambda s: [(path, s.name) for path in task.extras(s)]))
    inputs = _Again(lambda: each(lambda sample: task.inputs(sample).values()))
    check_outputs(outputs, inputs, root=task.out)
    check_outputs(extras, inputs)


class _Again(Generic[Item]):
    """Items that are made anew whenever somebody goes through them."""

    def __init__(self, make: Callable[[], Iterator[Item]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Item]:
        return self._make()
