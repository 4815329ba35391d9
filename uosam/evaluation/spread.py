"""One function of every image, in this process or in several."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from uosam.errors import BackendError
from uosam.evaluation.pairs import Job
from uosam.runs.spread.pools import ending

T = TypeVar("T")


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
        workers: 1 works in this process; more start as many.
        progress: called with 1 after each image.

    Raises:
        BackendError: a worker died.
    """
    if workers <= 1:
        yield from _report(map(function, jobs), progress)
        return
    # Spawned, not forked: a fork copies the locks of OpenCV's and BLAS's threads in any state.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread)
    try:
        with ending(pool):
            chunk = max(1, min(32, len(jobs) // (4 * workers)))
            remaining = iter(jobs)
            # In slices, so that neither jobs nor results of a large set pile up in the queues.
            while batch := list(islice(remaining, 16 * chunk * workers)):
                yield from _report(pool.map(function, batch, chunksize=chunk), progress)
    except BrokenProcessPool as error:
        raise BackendError(
            "a worker process died, most likely for want of memory; run again with fewer --workers"
        ) from error


def _report(results: Iterator[T], progress: Callable[[int], None] | None) -> Iterator[T]:
    for result in results:
        if progress:
            progress(1)
        yield result


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)
