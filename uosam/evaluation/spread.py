"""One function of every image, in this process or in several."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import cv2
import numpy as np

from uosam.errors import BackendError
from uosam.evaluation.pairs import Job
from uosam.runs.spread.pools import ending

T = TypeVar("T")

_MOST = 16
"""Images of one message."""


def run_jobs(
    function: Callable[[Job], T],
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Iterator[T]:
    """Yield the result of every image in order, here or from processes.

    Args:
        function: of one image; picklable.
        jobs: the images.
        workers: processes that work, of which this is one.
        progress: called with 1 after each image.

    Raises:
        BackendError: a worker died.
    """
    keep_memory()
    if workers <= 1:
        yield from _report(map(function, jobs), progress)
        return
    # Spawned, not forked: a fork copies the locks of OpenCV's and BLAS's threads in any state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers - 1, mp_context=context, initializer=_start)
    try:
        with ending(pool), _one_thread():
            yield from _report(_share(function, jobs, pool, workers - 1), progress)
    except BrokenProcessPool as error:
        raise BackendError(
            "a worker process died, most likely for want of memory; run again with fewer --workers"
        ) from error


def _share(
    function: Callable[[Job], T], jobs: Sequence[Job], pool: ProcessPoolExecutor, others: int
) -> Iterator[T]:
    """Yield results in order; whenever the first is not there yet, work at the next ones here.

    The others need a while to start, in which this process would wait for them.
    """
    size = max(1, min(_MOST, len(jobs) // (8 * (others + 1))))
    remaining = iter(jobs)
    chunks = iter(lambda: list(islice(remaining, size)), [])
    results: deque[Future[list[T]]] = deque()
    given: set[Future[list[T]]] = set()
    while True:
        given = {one for one in given if not one.done()}
        # Two for each, so that none waits for the next one.
        for chunk in islice(chunks, 2 * others - len(given)):
            results.append(pool.submit(_each, function, chunk))
            given.add(results[-1])
        # A slow one must not let the results of the others pile up.
        waits = bool(results) and not results[0].done() and len(results) < 32 * (others + 1)
        chunk = next(chunks, []) if waits else []
        if chunk:
            results.append(Future())
            results[-1].set_result(_each(function, chunk))
        elif results:
            yield from results.popleft().result()
        else:
            return


def _each(function: Callable[[Job], T], jobs: Sequence[Job]) -> list[T]:
    return [function(job) for job in jobs]


def _report(results: Iterator[T], progress: Callable[[int], None] | None) -> Iterator[T]:
    for result in results:
        if progress:
            progress(1)
        yield result


_KEPT = 1 << 24
"""Bytes; glibc adapts to blocks up to 32 MiB."""


def keep_memory() -> None:
    """Let the C library keep what pictures of usual size leave free.

    By default it gives every map of some hundred kilobytes back to the system and asks for it
    again, a page at a time, which takes a quarter of the time of counting. It stops doing so for
    blocks no larger than the largest that was ever freed (mallopt(3), M_MMAP_THRESHOLD).
    """
    np.empty(_KEPT, np.uint8)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Leave the cores to the other processes."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _start() -> None:
    cv2.setNumThreads(1)
    keep_memory()
