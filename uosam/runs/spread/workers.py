"""Work through samples: in this process, or in several on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice, pairwise
from multiprocessing.queues import SimpleQueue
from typing import Any

import cv2
from threadpoolctl import threadpool_limits

from uosam.backends.processes import cores_each, take_seat
from uosam.io.stores.mounts import mounts
from uosam.io.stores.store import Store
from uosam.runs.rows import Row
from uosam.runs.spread.family import CAN_FORK, in_family
from uosam.runs.spread.launch import HERE, Spread
from uosam.runs.spread.ordered import WorkerLostError, in_order
from uosam.runs.spread.pools import ending
from uosam.runs.spread.ray_actors import on_ray
from uosam.runs.spread.worker import Work, Worker
from uosam.runs.task import Outcome, Task
from uosam.structures import Sample


def do_all(
    task: Task, work: Iterator[Work], samples: int, spread: Spread = HERE
) -> Iterator[Outcome]:
    """Yield what becomes of every sample, in their order, reading ``work`` as it goes.

    Args:
        task: what is done.
        work: the samples.
        samples: how many there are.
        spread: on which machines.

    Raises:
        BackendError: the model cannot be loaded, or a worker process died.
    """
    if spread.engine == "ray" and samples:
        yield from on_ray(task, work, spread)
        return
    workers = min(task.workers, samples)
    worker = Worker(task)
    if workers <= 1:
        yield from in_this_process(worker, work)
        return
    # What is done already needs no other process, and no model.
    for one in work:
        outcome = worker.read(*one) if one[1] is not None else None
        if not isinstance(outcome, Outcome):
            several = in_family if CAN_FORK and task.forks else _in_processes
            yield from several(task, chain([one], work), workers)
            return
        yield outcome


def in_this_process(worker: Worker, work: Iterator[Work]) -> Iterator[Outcome]:
    """Compute one batch after the other, while the next is read and the last is written."""
    batches = iter(lambda: list(islice(work, worker.task.batch)), [])
    last: Future[list[Outcome]] = Future()
    last.set_result([])
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        reads = ((batch, reader.submit(_each, worker.read, batch)) for batch in batches)
        for (batch, read), _ in pairwise(chain(reads, [([], Future())])):
            try:
                computed = worker.compute(batch, read.result())
            except BaseException:  # Ctrl-C: the last are on disk, or will be, and are recorded
                yield from last.result()
                raise
            yield from last.result()
            last = writer.submit(_each, worker.write, batch, computed)
        yield from last.result()


def _each(do: Callable[..., Any], batch: Sequence[Work], *more: Sequence[Any]) -> list[Any]:
    """Call ``do`` for every sample of a batch, with what else there is for it."""
    return [do(*task, *rest) for task, *rest in zip(batch, *more, strict=True)]


_worker: Worker | None = None
"""That of a worker process."""


def _in_processes(task: Task, work: Iterator[Work], workers: int) -> Iterator[Outcome]:
    # spawn: a forked process would share the state of CUDA and of thread pools.
    context = multiprocessing.get_context("spawn")
    seats = context.SimpleQueue()
    for number in range(workers):
        seats.put(number)
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(task, mounts(), seats)
    )
    with ending(pool):
        yield from in_order(_Processes(pool, workers), work)


class _Processes:
    """Processes that import and load for themselves."""

    def __init__(self, pool: ProcessPoolExecutor, workers: int) -> None:
        self._pool, self.ahead = pool, 16 * workers
        self._waiting: dict[Future[Outcome], int] = {}

    @property
    def room(self) -> bool:
        """Whether another sample can be handed out."""
        return len(self._waiting) < self.ahead

    def send(self, number: int, work: Work) -> None:
        """Hand out a sample."""
        try:
            self._waiting[self._pool.submit(_do_in_worker, *work)] = number
        except BrokenProcessPool as error:
            raise WorkerLostError from error

    def receive(self) -> list[tuple[int, Outcome]]:
        """Wait for what is done."""
        done, _ = wait(self._waiting, return_when=FIRST_COMPLETED)
        try:
            return [(self._waiting.pop(one), one.result()) for one in done]
        except BrokenProcessPool as error:
            raise WorkerLostError from error


def _do_in_worker(sample: Sample, done: Row | None) -> Outcome:
    assert _worker is not None
    return _worker.do(sample, done)


def _start_worker(task: Task, stores: dict[str, Store], seats: SimpleQueue[int]) -> None:
    """Leave the cores to the other workers, and end with the parent, even if that is killed."""
    global _worker
    take_seat(seats.get())
    _worker = Worker(task, stores)
    cv2.setNumThreads(1)
    threadpool_limits(cores_each(task.workers))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
