"""Refine a folder: in this process or in several, whole or from where a killed run stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import cv2

from uosam.config import Config, dump_config
from uosam.errors import BackendError, ConfigError
from uosam.io.atomic import write_atomic
from uosam.io.pairs import Pairs
from uosam.runs.manifest import Row, finish, make_header, open_journal, record
from uosam.runs.summary import Run, encode_summary, sum_up
from uosam.runs.task import (
    Job,
    Outcome,
    compute_several,
    explain,
    output_path,
    read_one,
    refine_one,
    write_one,
)
from uosam.structures import Sample


def refine_folder(
    pairs: Pairs,
    out: Path,
    config: Config,
    *,
    inputs: Sequence[Path] = (),
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Refine every pair into ``out``, skipping those that an earlier run has done.

    A mask goes to ``out / (name + suffix of the coarse mask)``. One bad sample is a recorded
    failure. Results do not depend on the number of workers nor on how often the run was stopped.
    A script that asks for several workers calls this below ``if __name__ == "__main__"``, since
    each worker imports the script anew.

    Args:
        pairs: samples with picture and coarse mask, and what found no partner.
        out: folder for masks, ``manifest.jsonl``, ``config.yaml`` and ``summary.json``.
        config: all settings.
        inputs: folders that must not be written into.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: ``out`` holds other results, or is or lies in an input folder.
        InputError: ``out`` cannot be written.
        BackendError: the model cannot be loaded, or a worker process died.
    """
    start = time.perf_counter()
    check_folders(out, config, inputs)
    job = Job(out=out, config=config)
    for sample in pairs.samples:
        if sample.coarse and output_path(job, sample).resolve() == sample.coarse.resolve():
            raise ConfigError(f"{sample.coarse} would be overwritten; give another output folder")
    header = make_header(config)
    outcomes = []
    failures = dict(pairs.unreadable)
    with open_journal(out, header, overwrite=config.engine.overwrite) as journal:
        done = [journal.rows.get(sample.name) for sample in pairs.samples]
        for outcome in _map(job, pairs.samples, done):
            record(journal, outcome.row)
            outcomes.append(outcome)
            on_outcome(outcome)
        try:
            write_atomic(out / "config.yaml", dump_config(config).encode())
            finish(journal)
        except OSError as error:
            # The pictures are safe on disk or recorded as failed.
            failures["manifest.jsonl"] = f"{explain(error)}; free space and run again"
    unpaired = [str(path) for path in (*pairs.unpaired_images, *pairs.unpaired_masks)]
    run = sum_up(outcomes, failures, unpaired, time.perf_counter() - start)
    with suppress(OSError):
        write_atomic(out / "summary.json", encode_summary(run, header))
    return run


def check_folders(out: Path, config: Config, inputs: Sequence[Path]) -> None:
    """Refuse to write into an input folder, or pictures for people among the masks.

    Raises:
        ConfigError: which folder lies in which.
    """
    asked = {
        "output": out,
        "overlay": config.engine.overlay,
        "confidence": config.engine.confidence,
    }
    folders = {name: Path(path).resolve() for name, path in asked.items() if path}
    protected = [path.resolve() for path in inputs if path.is_dir()]
    for name, folder in folders.items():
        others = protected if name == "output" else [*protected, folders["output"]]
        for other in others:
            if folder.is_relative_to(other):
                raise ConfigError(
                    f"the {name} folder {folder} must not be or lie in {other}; "
                    "give a folder beside it"
                )


def _map(job: Job, samples: Sequence[Sample], done: Sequence[Row | None]) -> Iterator[Outcome]:
    """Yield the outcomes in the order of ``samples``."""
    workers = min(job.config.engine.workers, len(samples))
    if workers <= 1:
        yield from _in_this_process(job, samples, done)
        return
    jobs = [job] * len(samples)
    # spawn: a forked process would share the state of CUDA and of thread pools.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield from pool.map(refine_one, jobs, samples, done)
    except BrokenProcessPool as error:
        raise BackendError(
            "a worker process died, most likely for want of memory; run again with fewer "
            "--workers, finished pictures are kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_this_process(
    job: Job, samples: Sequence[Sample], done: Sequence[Row | None]
) -> Iterator[Outcome]:
    """Refine one batch after the other, while the next is read and the last is written."""
    tasks = list(zip(samples, done, strict=True))
    size = job.config.engine.batch
    batches = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    last: Future[list[Outcome]] = Future()
    last.set_result([])
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        reads = (reader.submit(_each, read_one, job, batch) for batch in batches)
        for batch, (read, _) in zip(batches, pairwise(chain(reads, [Future()])), strict=True):
            try:
                refined = compute_several(job, batch, read.result())
            except BaseException:  # Ctrl-C: the last are on disk, or will be, and are recorded
                yield from last.result()
                raise
            yield from last.result()
            last = writer.submit(_each, write_one, job, batch, refined)
        yield from last.result()


def _each(
    do: Callable[..., Any],
    job: Job,
    batch: Sequence[tuple[Sample, Row | None]],
    *more: Sequence[Any],
) -> list[Any]:
    """Call ``do`` for every sample of a batch, with what else there is for it."""
    return [do(job, *task, *rest) for task, *rest in zip(batch, *more, strict=True)]


def _start_worker() -> None:
    """Leave the cores to the other workers, and end with the parent, even if that is killed."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
