"""What a process that joins others does first."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import cv2
import pytest

from benchmarks.million import Nothing
from uosam.backends import processes
from uosam.backends.processes import choose_gpu
from uosam.runs.spread import workers


def test_a_worker_takes_a_seat_and_its_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seats = multiprocessing.get_context("spawn").SimpleQueue()
    for number in (2, 3):
        seats.put(number)
    limits: list[int] = []
    monkeypatch.setattr(workers, "threadpool_limits", limits.append)
    monkeypatch.setattr(processes, "_cores", lambda: 9)
    monkeypatch.setattr(cv2, "setNumThreads", limits.append)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(workers, "_worker", None)
    monkeypatch.setattr(processes, "_seat", 0)
    found = []
    for _ in range(2):
        workers._start_worker(Nothing(folder=tmp_path, processes=4), {}, seats)
        found.append(choose_gpu(8))
    assert found == [2, 3]
    assert limits == [1, 2, 1, 2]
