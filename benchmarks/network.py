"""What refining does to masks of a real network, beside every rival: the first table of README.

``python -m benchmarks.network`` refines the masks of ``$UOSAM_SHARED/data/voc_classes``, which
``uosam coarse --model imagenet`` makes, with the methods of ``configs/bench/val.yaml``, and appends
a row for each to ``benchmarks/results/network.jsonl``; rivals that ask for proposals over the whole
picture, seconds each, work side by side, since they ask the same. Classes are known, so nothing is
matched, and scores are those of LUSS. ``--fill`` writes the tables of the last rows into
``docs/network_masks.md`` and README.md and measures nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from uosam.baselines.imagenet import load as load_network

from benchmarks.accuracy import TOP, changed_files
from benchmarks.network_bounds import bounds, count_mended
from benchmarks.network_scores import NUMBERS, count, score
from benchmarks.network_tables import fill_files
from benchmarks.remembering import Remembering
from benchmarks.speed import facts, store
from uosam.backends import load_backend
from uosam.bench.cell import build_method, read_sample
from uosam.bench.leaderboard import find_samples
from uosam.bench.plan import BenchMethod, read_plan
from uosam.bench.set import BenchSet, read_set
from uosam.config import Config, dump_config, load_config
from uosam.errors import UosamError
from uosam.io.soft import to_probabilities
from uosam.metrics.counts import PairCounts, PairTable, collect
from uosam.pipeline import refine
from uosam.structures import Backend, Floats, Image, LabelMap, Sample

RESULTS = Path(__file__).parent / "results" / "network.jsonl"
SLOW = (
    "SSA vote",
    "SAD vote",
    "SEPL max_iou",
    "SEPL max_iou_imp",
    "SEPL max_iou_imp2",
    "UO-SAM paper",
)
"""Methods that ask for proposals over the whole picture: seconds each on two cores."""
DEFAULT = "uosam"
"""Whose maps are mended, too, to tell what they lose."""
WITH_SCORES = "uosam, scores"
"""The default with the network's class scores beside its masks."""


def declared(folder: Path) -> BenchSet:
    """Return the set with the masks of the network and VOC's ids; 255 is not scored."""
    entry = {"images": "images", "gt": "gt", "coarse": "coarse_network"}
    return read_set("network", entry, folder)


def run_methods(
    methods: Sequence[BenchMethod],
    data: BenchSet,
    samples: Sequence[Sample],
    mended: list[tuple[str, dict[str, PairCounts]]],
) -> list[tuple[PairTable, list[float]]]:
    """Count what methods make of every picture, and the processor's seconds for each.

    All work on one picture after the other and share what they ask of one segmenter; each is
    counted the time that it would take alone (``Remembering``). The first calls are not timed: they
    load and compile. Time is that of the processor, summed over cores, since the clock on the wall
    tells of what else a machine does. ``mended`` gets what ``count_mended`` says of the maps of the
    default.
    """
    loaded: dict[str, Remembering] = {}
    runs = []
    for method in methods:
        key = repr(method.config.backend)
        if method.takes("backend") and key not in loaded:
            loaded[key] = Remembering(load_backend(method.config.backend))
        backend = loaded.get(key) if method.takes("backend") else None
        runs.append((build_method(method, data, 0, backend), backend))
    network = load_network(device="cpu") if WITH_SCORES in [m.name for m in methods] else None
    counted: list[list[tuple[str, PairCounts]]] = [[] for _ in methods]
    seconds: list[list[float]] = [[] for _ in methods]
    for sample in samples:
        image, coarse, target = read_sample(sample, data)
        scores = None if network is None else to_probabilities(network(image))
        for index, (method, (run, backend)) in enumerate(zip(methods, runs, strict=True)):
            if method.name == WITH_SCORES:
                assert backend is not None  # refine takes one
                run = partial(with_scores, backend=backend, config=method.config, scores=scores)
            if not seconds[index]:
                run(image, coarse)
                if backend is not None and index == 0:
                    backend.forget()
            saved = 0.0 if backend is None else backend.saved
            start = time.process_time()
            labels = run(image, coarse)
            took = time.process_time() - start
            seconds[index].append(took + (0.0 if backend is None else backend.saved - saved))
            counted[index].append((sample.name, count(labels, target)))
            if method.name == DEFAULT:
                mended.append((sample.name, count_mended(labels, target)))
    return [(collect(one), took) for one, took in zip(counted, seconds, strict=True)]


def with_scores(
    image: Image, coarse: LabelMap, *, backend: Backend, config: Config, scores: Floats
) -> LabelMap:
    """Refine a map with the probabilities behind it."""
    return refine(image, coarse, backend, config.refine, background=0, scores=scores).labels


def measure(
    methods: Sequence[BenchMethod],
    data: BenchSet,
    limit: int | None,
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """Give ``keep`` a row of numbers for each method, as soon as it is there.

    Raises:
        InputError: the data are not there.
    """
    samples = find_samples(data)[:limit]
    before = run_methods([BenchMethod(name="coarse", reference="coarse")], data, samples, [])[0][0]
    for group in grouped(methods):
        mended: list[tuple[str, dict[str, PairCounts]]] = []
        runs = run_methods(group, data, samples, mended)
        for method, (after, seconds) in zip(group, runs, strict=True):
            part = score(before, after, seconds, len(samples))
            config = dump_config(method.config) if method.takes("backend") else ""
            numbers = part["scores"]
            gains = ", ".join(f"{name} {100 * numbers[name]['gain']:+.1f}" for name in NUMBERS)
            print(f"{method.name} on {len(samples)}: {gains}", flush=True)
            keep({"method": method.name, "config": config, "parts": {str(len(samples)): part}})
        if mended:
            keep({"part": "bounds", "images": len(samples), "bounds": bounds(before, mended)})


def grouped(methods: Sequence[BenchMethod]) -> list[list[BenchMethod]]:
    """Put slow methods together, which ask the same; every other one is by itself, and first."""
    slow = [method for method in methods if method.name in SLOW]
    return [[method] for method in methods if method not in slow] + ([slow] if slow else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", metavar="NAME", default=[], help="default: all")
    parser.add_argument("--limit", type=int, help="pictures; default: all")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    parser.add_argument("--fill", action="store_true", help="write the tables, measure nothing")
    arguments = parser.parse_args()
    if arguments.fill:
        fill_files(RESULTS)
        return
    common = {"part": "network", **facts(), "changed_files": changed_files()}
    common |= {"settings": arguments.set, "limit": arguments.limit}

    def keep(row: dict[str, Any]) -> None:
        if not arguments.dry_run:
            store(RESULTS, {**common, **row})

    shared = Path(os.environ.get("UOSAM_SHARED", TOP.parent / "shared"))
    os.environ["UOSAM_SHARED"] = str(shared)
    try:
        named = [name for name in arguments.methods if name != WITH_SCORES]
        plan = read_plan("val", arguments.set, methods=named)
        methods = [m for m in plan.methods if m.name != "coarse"]
        if arguments.methods and not named:
            methods = []
        if WITH_SCORES in arguments.methods or not arguments.methods:
            config = load_config(None, arguments.set)
            methods.append(BenchMethod(name=WITH_SCORES, reference="uosam", config=config))
        data = declared(shared / "data" / "voc_classes")
        measure(methods, data, arguments.limit, keep)
    except UosamError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
