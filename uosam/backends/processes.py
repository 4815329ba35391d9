"""How many processes a folder is worth (``engine.workers=auto``), and what each may take."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from typing import Literal

from uosam.backends import BackendOptions
from uosam.backends.models import MODELS

ENOUGH = 100
"""Pictures of a worker that pay for its start; see ``benchmarks/workers.py``."""

LARGEST = 20_000_000
"""Weights of a model that may be there several times; larger ones fill the cores by themselves."""

log = logging.getLogger(__name__)

_seat = 0
"""Number of this process among those that work at one folder."""


def take_seat(number: int) -> None:
    """Number this process among those that work together; they take the GPUs in turn."""
    global _seat
    _seat = number


def choose_gpu(gpus: int) -> int:
    """Return which of several GPUs is this process's.

    >>> choose_gpu(4)
    0
    """
    return _seat % gpus


def choose_workers(asked: int | Literal["auto"], pictures: int, options: BackendOptions) -> int:
    """Return the number of processes for a folder.

    A process takes seconds to start, so a small folder is done in this one. An accelerator works
    for one process, and a large network keeps all cores busy alone.

    Args:
        asked: a number, which is taken as it is, or "auto".
        pictures: that are to be refined.
        options: of the segmenter; one from outside this package gets one process.

    >>> choose_workers(3, 10, BackendOptions()), choose_workers("auto", 10, BackendOptions())
    (3, 1)
    """
    if asked != "auto":
        return asked
    most = min(_cores(), pictures // ENOUGH)
    model = MODELS.get(options.name)
    if most < 2 or model is None or model.folder or model.parameters > LARGEST:
        return 1
    if model.parameters and not _computes_on_cpu(options.device):
        return 1
    log.info("%d pictures on %d cores: %d workers", pictures, _cores(), most)
    return most


def cores_each(processes: int) -> int:
    """Return how many cores, hence threads, each of so many processes may take.

    >>> cores_each(10_000)
    1
    """
    return max(1, _cores() // processes)


def may_fork(options: BackendOptions) -> bool:
    """Tell whether a loaded model may be shared with forked processes.

    Models of this package that compute on the CPU have no threads and no device of their own.

    >>> may_fork(BackendOptions(name="graphcut")), may_fork(BackendOptions(name="my.model:load"))
    (True, False)
    """
    model = MODELS.get(options.name)
    if model is None or model.folder:
        return False
    return not model.parameters or _computes_on_cpu(options.device)


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _computes_on_cpu(device: str) -> bool:
    # torch knows, but its import takes more than a second, and only the workers need it.
    if device == "cpu" or (device == "auto" and sys.platform == "linux" and not _has_driver()):
        return True
    from uosam.backends.device import choose_device

    return choose_device(device).type == "cpu"


def _has_driver() -> bool:
    """Tell whether Linux may have an accelerator that torch can use: of NVIDIA or AMD."""
    if any(os.path.exists(file) for file in ("/dev/kfd", "/dev/dxg")):
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
