"""Work through a folder: in this process or in several, whole or from where a run stopped.

The one engine of all commands over folders; what is done to a sample is a ``Task``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import cached_property, partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import cv2

from uosam.errors import BackendError, ConfigError, InputError
from uosam.io.atomic import write_atomic
from uosam.io.outputs import check_outputs
from uosam.runs.manifest import Row, finish, open_journal, record
from uosam.runs.summary import Run, Tally, encode_summary
from uosam.runs.task import (
    Computed,
    Inputs,
    Outcome,
    Task,
    compute_one,
    read_one,
    write_one,
)
from uosam.structures import Sample
from uosam.text import explain


def run_folder(
    task: Task,
    samples: Sequence[Sample],
    *,
    failures: Mapping[str, str] | None = None,
    unpaired: Sequence[str] = (),
    notes: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
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
        inputs: where the samples came from, for who looks at the results later.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: the output folder holds other results, or an output is an input of the run.
        InputError: the output folder cannot be written, or two outputs are one file.
        BackendError: the model cannot be loaded, or a worker process died.
    """
    start = time.perf_counter()
    _check_outputs(task, samples)
    header = task.header()
    tally = Tally(
        task=task,
        failures=dict(failures or {}),
        unpaired=list(unpaired),
        notes={note: [] for note in notes},
    )
    with open_journal(task.out, header, overwrite=task.overwrite) as journal:
        done = [journal.rows.get(sample.name) for sample in samples]
        for outcome in _map(task, samples, done):
            record(journal, outcome.row)
            tally.add(outcome)
            on_outcome(outcome)
        try:
            for name, data in (files or {}).items():
                write_atomic(task.out / name, data)
            finish(journal)
        except OSError as error:
            # The results are safe on disk or recorded as failed.
            tally.failures["manifest.jsonl"] = f"{explain(error)}; free space and run again"
    run = tally.sum_up(time.perf_counter() - start)
    with suppress(OSError):
        write_atomic(task.out / "summary.json", encode_summary(run, header, inputs))
    return run


def check_folders(folders: Mapping[str, Path], inputs: Sequence[Path]) -> None:
    """Refuse to write into an input folder, or pictures for people among the results.

    Args:
        folders: what is written by what it is called; the results are "output".
        inputs: folders that are only read.

    Raises:
        ConfigError: which folder lies in which.
    """
    places = {name: path.resolve() for name, path in folders.items()}
    protected = [path.resolve() for path in inputs if path.is_dir()]
    for name, folder in places.items():
        others = protected if name == "output" else [*protected, places["output"]]
        for other in others:
            if folder.is_relative_to(other):
                raise ConfigError(
                    f"the {name} folder {folder} must not be or lie in {other}; "
                    "give a folder beside it"
                )


def _check_outputs(task: Task, samples: Sequence[Sample]) -> None:
    """Refuse to write over an input of the run, out of the folder, or twice to one file."""
    read: list[Path] = []
    outputs, extras = [], []
    for sample in samples:
        try:
            read += task.inputs(sample).values()
            outputs.append((task.output(sample), sample.name))
            extras += [(path, sample.name) for path in task.extras(sample)]
        except InputError:  # recorded when its turn comes
            continue
    check_outputs(outputs, read, root=task.out)
    check_outputs(extras, read)


class Worker:
    """A task in the process that works at it, with its model once it is needed."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @cached_property
    def model(self) -> Any:
        """The loaded model; a run that has nothing left to do loads none."""
        model = self.task.load()
        torch = sys.modules.get("torch")
        if torch is not None and self.task.workers > 1:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // self.task.workers))
        return model

    def read(self, sample: Sample, done: Row | None) -> Inputs | Outcome:
        """Read one sample."""
        return read_one(self.task, sample, done)

    def compute(
        self, tasks: Sequence[tuple[Sample, Row | None]], reads: Sequence[Inputs | Outcome]
    ) -> list[Computed | Outcome]:
        """Compute several samples; only a model that does not load is an error."""
        if not any(isinstance(read, Inputs) for read in reads):
            return [read for read in reads if isinstance(read, Outcome)]
        works = [
            partial(compute_one, self.task, sample, done, read)
            for (sample, done), read in zip(tasks, reads, strict=True)
        ]
        return self.task.together(self.model, works)

    def write(self, sample: Sample, done: Row | None, computed: Computed | Outcome) -> Outcome:
        """Write one sample."""
        return write_one(self.task, sample, done, computed)

    def do(self, sample: Sample, done: Row | None) -> Outcome:
        """Read, compute and write one sample."""
        (computed,) = self.compute([(sample, done)], [self.read(sample, done)])
        return self.write(sample, done, computed)


_worker: Worker | None = None
"""That of a worker process."""


def _map(task: Task, samples: Sequence[Sample], done: Sequence[Row | None]) -> Iterator[Outcome]:
    """Yield the outcomes in the order of ``samples``."""
    workers = min(task.workers, len(samples))
    if workers <= 1:
        yield from _in_this_process(Worker(task), samples, done)
        return
    # spawn: a forked process would share the state of CUDA and of thread pools.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(task,)
    )
    try:
        yield from pool.map(_do_in_worker, samples, done)
    except KeyboardInterrupt:
        # What they are at is lost and redone; nobody waits a minute after Ctrl-C.
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    except BrokenProcessPool as error:
        raise BackendError(
            "a worker process died, most likely for want of memory; run again with fewer "
            "--workers, finished pictures are kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_this_process(
    worker: Worker, samples: Sequence[Sample], done: Sequence[Row | None]
) -> Iterator[Outcome]:
    """Compute one batch after the other, while the next is read and the last is written."""
    tasks = list(zip(samples, done, strict=True))
    size = worker.task.batch
    batches = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    last: Future[list[Outcome]] = Future()
    last.set_result([])
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        reads = (reader.submit(_each, worker.read, batch) for batch in batches)
        for batch, (read, _) in zip(batches, pairwise(chain(reads, [Future()])), strict=True):
            try:
                computed = worker.compute(batch, read.result())
            except BaseException:  # Ctrl-C: the last are on disk, or will be, and are recorded
                yield from last.result()
                raise
            yield from last.result()
            last = writer.submit(_each, worker.write, batch, computed)
        yield from last.result()


def _each(
    do: Callable[..., Any], batch: Sequence[tuple[Sample, Row | None]], *more: Sequence[Any]
) -> list[Any]:
    """Call ``do`` for every sample of a batch, with what else there is for it."""
    return [do(*task, *rest) for task, *rest in zip(batch, *more, strict=True)]


def _do_in_worker(sample: Sample, done: Row | None) -> Outcome:
    assert _worker is not None
    return _worker.do(sample, done)


def _start_worker(task: Task) -> None:
    """Leave the cores to the other workers, and end with the parent, even if that is killed."""
    global _worker
    _worker = Worker(task)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
