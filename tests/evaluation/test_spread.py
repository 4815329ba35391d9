from __future__ import annotations

import multiprocessing
import os
import time
from functools import partial
from pathlib import Path

import cv2
import pytest

from uosam.errors import BackendError
from uosam.evaluation.pairs import Job
from uosam.evaluation.spread import run_jobs

JOBS = [Job(name=str(number), target=Path("gt"), preds=()) for number in range(150)]


def who(job: Job) -> tuple[str, int]:
    return job.name, os.getpid()


def die_elsewhere(job: Job) -> str:
    if multiprocessing.parent_process() is not None:
        os._exit(9)
    return job.name


def wait_for_another(mark: Path, job: Job) -> tuple[str, int, int]:
    """Work slowly until another process has shown itself."""
    if multiprocessing.parent_process() is not None:
        mark.touch()
    elif not mark.exists():
        time.sleep(0.2)
    return job.name, os.getpid(), cv2.getNumThreads()


def test_one_worker_is_this_process_and_reports_each_image():
    seen: list[int] = []
    found = list(run_jobs(who, JOBS, progress=seen.append))
    assert found == [(job.name, os.getpid()) for job in JOBS]
    assert seen == [1] * len(JOBS)


def test_two_workers_share_the_images_and_keep_their_order(tmp_path):
    threads = cv2.getNumThreads()
    seen: list[int] = []
    work = partial(wait_for_another, tmp_path / "mark")
    found = list(run_jobs(work, JOBS, workers=2, progress=seen.append))
    assert [name for name, _, _ in found] == [job.name for job in JOBS]
    assert len({process for _, process, _ in found}) == 2
    assert {process for _, process, _ in found} > {os.getpid()}
    assert {used for _, _, used in found} == {1}
    assert cv2.getNumThreads() == threads
    assert len(seen) == len(JOBS)


@pytest.mark.parametrize("jobs", [0, 1, 3])
def test_more_workers_than_images_do_no_harm(jobs):
    found = list(run_jobs(who, JOBS[:jobs], workers=3))
    assert [name for name, _ in found] == [job.name for job in JOBS[:jobs]]


def test_a_dead_worker_is_told_in_one_line():
    with pytest.raises(BackendError, match=r"a worker process died.* fewer --workers"):
        list(run_jobs(die_elsewhere, JOBS, workers=2))
