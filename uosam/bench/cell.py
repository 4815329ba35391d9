"""One cell of a benchmark: a method on a set, in a process of its own."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from uosam.backends import load_backend
from uosam.backends.weights.cache import on_cpu, open_cache, remember
from uosam.bench.plan import BenchMethod
from uosam.bench.set import BenchSet
from uosam.bench.stored_cell import Cell, read_cell
from uosam.config import EngineOptions
from uosam.errors import InputError
from uosam.geometry.render import make_guide
from uosam.io.atomic import write_atomic
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.depth import find_depth, read_depth
from uosam.io.images import read_image
from uosam.labels import check_label_map
from uosam.metrics.boundary import boundary_width
from uosam.metrics.counts import PairCounts, Widths, collect, count_pairs, prepare_target
from uosam.pipeline import RefineOptions, refine
from uosam.structures import Backend, Guide, Image, LabelMap, Sample

BOUNDARY_RATIO = 0.02
"""Depth of boundaries as a part of the picture's diagonal (Cheng et al., CVPR 2021)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CellJob:
    """What the process needs to know.

    Attributes:
        method: to run.
        data: set to run it on.
        samples: pictures with coarse mask and ground truth.
        seed: for a method that takes one.
        key: what determines the cell; kept in its file for readers.
        path: file of the cell, ending in ``.json``; its maps lie beside it.
    """

    method: BenchMethod
    data: BenchSet
    samples: Sequence[Sample]
    seed: int | None
    key: dict[str, Any]
    path: Path


def build_method(
    method: BenchMethod, data: BenchSet, seed: int | None, backend: Backend | None
) -> Callable[[Image, LabelMap, Guide | None], LabelMap]:
    """Return a method as a function of picture, coarse map and the guide of a set with depth.

    Raises:
        ConfigError: the function is not there.
    """
    function = method.function()
    arguments: dict[str, Any] = {"background": data.coarse_background, **method.settings}
    if method.takes("backend"):
        arguments["backend"] = backend
    if method.takes("options"):
        arguments["options"] = method.config.refine
    if method.takes("seed"):
        arguments["seed"] = seed

    def run(image: Image, coarse: LabelMap, guide: Guide | None = None) -> LabelMap:
        more = {"guide": guide} if method.takes("guide") else {}
        labels: LabelMap = function(image, coarse, **arguments, **more)
        check_label_map(labels, (image.shape[0], image.shape[1]))
        return labels

    return run


def read_sample(sample: Sample, data: BenchSet) -> tuple[Image, LabelMap, LabelMap]:
    """Read picture, coarse map and ground truth.

    Raises:
        InputError: a file is unusable or the sizes differ.
    """
    assert sample.image is not None
    assert sample.coarse is not None
    assert sample.target is not None
    image = read_image(sample.image)
    # 255 is a class like any other in a coarse map; only the truth leaves pixels out.
    coarse = read_with(sample.coarse, LabelOptions(ignore="none")).labels
    target = read_with(sample.target, LabelOptions(ignore=data.ignore)).labels
    for labels in (coarse, target):
        check_label_map(labels, (image.shape[0], image.shape[1]))
    return image, coarse, target


def read_guide(sample: Sample, data: BenchSet, method: BenchMethod) -> Guide | None:
    """Read the depth of a picture and draw it, for a method that takes a guide.

    Raises:
        InputError: the set has depth, but not of this picture, or it is unusable.
    """
    if data.depth is None or not method.takes("guide"):
        return None
    path, options = find_depth(data.depth, sample.name), method.config.depth
    if path is None:
        raise InputError(f"{data.depth}: expected depth of the name {sample.name}, found none")
    return make_guide(read_depth(path, options.encoding, resize=options.resize), options)


def run_cell(job: CellJob, *, isolated: bool = True) -> Cell:
    """Fill a cell in a fresh process, or read it if an earlier run has filled it.

    The process is the method's alone, so that its peak memory is its own; pictures are timed one
    after the other, after an untimed call that loads and compiles. Failures are not kept.

    Args:
        job: what to fill.
        isolated: off, the method runs in this process, where it can be debugged; its memory is
            then not its own, and a method that ends its process ends this one.
    """
    if job.path.is_file():
        # What cannot be believed is filled again: a killed run, a full disk, another hand.
        with suppress(InputError):
            return read_cell(job.path, cached=True, key=job.key)
    error = _in_process(job) if isolated else _attempt(job)
    return Cell(table=collect([]), error=error) if error else read_cell(job.path)


def _in_process(job: CellJob) -> str:
    """Run a job in a process of its own; returns why there is no cell, or ""."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(there, job))
    process.start()
    there.close()
    try:
        error = str(here.recv())
    except EOFError:
        process.join()
        error = f"its process ended with status {process.exitcode}; memory may have run out"
    except BaseException:  # Ctrl-C
        process.terminate()
        raise
    finally:
        process.join()
    return error


def _work(connection: Connection, job: CellJob) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)  # a parent that was killed wants no answer

    threading.Thread(target=follow, daemon=True).start()
    connection.send(_attempt(job))


def _attempt(job: CellJob) -> str:
    """Write the cell; returns why there is none, or ""."""
    try:
        _fill(job)
    except Exception as error:  # whatever a method raises is a row of the table
        text = " ".join(str(error).split()) or "no message"
        return f"{type(error).__name__}: {text}"
    return ""


def _fill(job: CellJob) -> None:
    config = job.method.config
    backend = load_backend(config.backend) if job.method.takes("backend") else None
    method = build_method(job.method, job.data, job.seed, backend)
    cache = open_cache(config.engine.embedding_cache_gb)
    counted: list[tuple[str, PairCounts]] = []
    seconds: list[float] = []
    maps: dict[str, LabelMap] = {}
    for sample in job.samples:
        image, coarse, target = read_sample(sample, job.data)
        guide = read_guide(sample, job.data, job.method)
        if not seconds:
            method(image, coarse, guide)
            if backend is not None and _keeps_embeddings(config.engine, backend):
                remember(backend, config.backend, cache)
        start, balance = time.perf_counter(), cache.balance
        labels = method(image, coarse, guide)
        # Which cell encodes a picture and which remembers it must not show in the table.
        seconds.append(time.perf_counter() - start + cache.balance - balance)
        height, width = target.shape
        widths = Widths(boundary_width((height, width), BOUNDARY_RATIO))
        counted.append((sample.name, count_pairs(labels, prepare_target(target, widths))))
        maps[sample.name] = labels
    peak = peak_memory()
    table = collect(counted)
    found = {
        "key": job.key,
        "names": table.names,
        **{name: getattr(table, name).tolist() for name in ("image", "pred", "target", "counts")},
        "seconds": seconds,
        "peak_mb": peak,
    }
    buffer = io.BytesIO()
    # Names may be paths; the order of the pictures names the arrays as well.
    arrays: dict[str, Any] = {f"map_{i}": maps[name] for i, name in enumerate(table.names)}
    np.savez_compressed(buffer, **arrays)
    write_atomic(job.path.with_suffix(".npz"), buffer.getvalue())
    write_atomic(job.path, json.dumps(found).encode())


def _keeps_embeddings(engine: EngineOptions, backend: Backend) -> bool:
    when = engine.embedding_cache
    return when == "always" or (when == "sweeps" and on_cpu(backend))


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, in MB; nan where unknown."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage also counts what the parent held when it started this process.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def keep_coarse(image: Image, coarse: LabelMap, *, background: int | None = 0) -> LabelMap:
    """Return the coarse map: the row that every other is compared with.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    del background
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    return coarse.copy()


def refine_uosam(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    *,
    options: RefineOptions,
    background: int | None = 0,
    guide: Guide | None = None,
) -> LabelMap:
    """Return the labels of ``pipeline.refine``; arguments as there.

    A method whose settings leave the global stage out does not look at the guide of a set.
    """
    looked_at = guide if options.global_region.grid else None
    return refine(image, coarse, backend, options, background=background, guide=looked_at).ids
