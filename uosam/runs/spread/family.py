"""Several processes with one model: it is loaded once, then the process that has it is forked.

A process that is started anew imports and loads everything anew, which takes seconds, and holds
weights of its own. A forked one has all of that at once and shares the memory. Forking is safe only
from a process without threads and without an accelerator, so one is started for it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2
from threadpoolctl import threadpool_limits

from uosam.backends.processes import cores_each
from uosam.errors import UosamError
from uosam.io.stores.mounts import mounts
from uosam.io.stores.store import Store
from uosam.runs.spread.ordered import WorkerLostError, in_order
from uosam.runs.spread.worker import Work, Worker
from uosam.runs.task import Outcome, Task

_AT_ONCE = 2
"""Samples that a process has at hand, so that it never waits for the next one."""

CAN_FORK = sys.platform == "linux"
"""Elsewhere libraries of the system do not bear it."""


def in_family(task: Task, work: Iterator[Work], workers: int) -> Iterator[Outcome]:
    """Yield what becomes of every sample, in their order.

    Raises:
        BackendError: the model cannot be loaded, or a process died.
    """
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(workers)]
    ours, theirs = [pipe[0] for pipe in pipes], [pipe[1] for pipe in pipes]
    parent = context.Process(target=_raise_children, args=(task, mounts(), theirs))
    parent.start()
    for connection in theirs:  # so that the end of the last child ends what we read from
        connection.close()
    try:
        yield from in_order(_Children(ours), work)
    except BaseException:
        # What they are at is lost and redone; nobody waits a minute after Ctrl-C.
        parent.terminate()
        raise
    finally:
        for connection in ours:
            connection.close()
        parent.join()


class _Children:
    """Processes at the other end of pipes."""

    def __init__(self, pipes: Sequence[Connection]) -> None:
        self._busy = dict.fromkeys(pipes, 0)

    @property
    def room(self) -> bool:
        """Whether one of them can take another sample."""
        return min(self._busy.values()) < _AT_ONCE

    @property
    def ahead(self) -> int:
        """How far the first may be behind the last."""
        return 16 * len(self._busy)

    def send(self, number: int, work: Work) -> None:
        """Give a sample to the one that has the least to do."""
        pipe = min(self._busy, key=self._busy.__getitem__)
        try:
            pipe.send((number, work))
        except OSError as error:
            self._ask(pipe)  # it may have said why
            raise WorkerLostError from error
        self._busy[pipe] += 1

    def receive(self) -> list[tuple[int, Outcome]]:
        """Wait for what is done."""
        found = []
        for pipe in wait([pipe for pipe, count in self._busy.items() if count]):
            assert isinstance(pipe, Connection)
            found.append(self._ask(pipe))
            self._busy[pipe] -= 1
        return found

    def _ask(self, pipe: Connection) -> tuple[int, Outcome]:
        try:
            said = pipe.recv()
        except (EOFError, OSError) as error:
            raise WorkerLostError from error
        if isinstance(said, Exception):
            raise said
        number, outcome = said
        return number, outcome


def _raise_children(task: Task, stores: dict[str, Store], pipes: list[Connection]) -> None:
    """Load the model in a process without threads, and fork it for each of the pipes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    cv2.setNumThreads(1)
    threads = cores_each(len(pipes))
    worker = Worker(task, stores)
    try:
        with _one_thread():
            _ = worker.model
    except Exception as error:  # told as if it were loaded where it was asked for
        said = error if isinstance(error, UosamError) else RuntimeError(repr(error))
        for pipe in pipes:
            with contextlib.suppress(OSError):
                pipe.send(said)
        return
    threadpool_limits(threads)  # BLAS was there before the environment could tell it
    children = []
    while pipes:
        pipe = pipes.pop()
        child = os.fork()
        if child == 0:
            for other in pipes:
                other.close()
            _serve(worker, pipe, threads)
            os._exit(0)
        pipe.close()
        children.append(child)

    def end(*_: Any) -> None:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        os._exit(1)

    signal.signal(signal.SIGTERM, end)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            end()

        threading.Thread(target=follow, daemon=True).start()
    for child in children:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _serve(worker: Worker, pipe: Connection, threads: int) -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):  # whoever asked has gone
        while True:
            number, (sample, done) = pipe.recv()
            pipe.send((number, worker.do(sample, done)))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch from making threads, which would be missing after a fork."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of what is imported from here on
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
    yield
