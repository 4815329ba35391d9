"""Whether votes of proposals gain on masks of a network, and what they cost beside the local stage.

``python -m benchmarks.votes --model tiny --pictures 60`` redraws the objects of some pictures of
``$UOSAM_SHARED/data/voc_classes`` and lets the global stage vote over the result, with grids of
several sizes and the limits that the segmenter comes with. It prints gains over the local stage and
processor seconds of both stages, and appends a row to ``benchmarks/results/votes.jsonl``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.accuracy import changed_files, data
from benchmarks.network import declared
from benchmarks.network_scores import NUMBERS, count, score
from benchmarks.network_tables import gain
from benchmarks.proposals import spread
from benchmarks.speed import facts, store
from uosam.backends import load_backend
from uosam.bench.cell import read_sample
from uosam.bench.leaderboard import find_samples
from uosam.config import Config, load_config
from uosam.metrics.counts import PairCounts, collect
from uosam.stages.global_region import refine_global
from uosam.stages.local_region import refine_local
from uosam.stages.prompts import make_prompts
from uosam.structures import Backend, Sample

RESULTS = Path(__file__).parent / "results" / "votes.jsonl"


def measure(
    samples: Sequence[Sample], backend: Backend, config: Config, grids: Sequence[int]
) -> dict[str, Any]:
    """Vote over redrawn maps with several grids.

    Returns:
        Number of "images", mean seconds of the processor of "embed" and "local", and for each grid
        its "seconds" and the "scores" of LUSS: before the vote, after, gain with interval.
    """
    where = declared(data("val").parent / "voc_classes")
    options = config.refine
    seconds: dict[str, list[float]] = {"embed": [], "local": []}
    counted: dict[str, list[tuple[str, PairCounts]]] = {"local": []}
    for index, sample in enumerate([samples[0], *samples]):  # the first one warms up
        image, coarse, target = read_sample(sample, where)
        start = time.process_time()
        embedding = backend.embed(image)
        took = {"embed": time.process_time() - start}
        start = time.process_time()
        prompts = make_prompts(coarse, embedding, options.prompts, background=0)
        local = refine_local(
            coarse, image, prompts, embedding, backend, options.local_region, background=0
        ).labels
        took["local"] = time.process_time() - start
        maps = {"local": local}
        for grid in grids:
            chosen = replace(options.global_region, grid=grid)
            start = time.process_time()
            maps[str(grid)] = refine_global(local, embedding, backend, chosen, background=0)
            took[str(grid)] = time.process_time() - start
        if not index:
            continue
        for name, labels in maps.items():
            counted.setdefault(name, []).append((sample.name, count(labels, target)))
        for name, value in took.items():
            seconds.setdefault(name, []).append(value)
    tables = {name: collect(one) for name, one in counted.items()}
    mean = {name: sum(values) / len(values) for name, values in seconds.items()}
    grids_found = {
        str(grid): {
            "seconds": mean[str(grid)],
            "scores": score(tables["local"], tables[str(grid)], [0.0] * len(samples), len(samples))[
                "scores"
            ],
        }
        for grid in grids
    }
    return {
        "images": len(samples),
        "embed": mean["embed"],
        "local": mean["local"],
        "grids": grids_found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["tiny", "graphcut"])
    parser.add_argument("--pictures", type=int, default=60, help="evenly of all")
    parser.add_argument("--grid", type=int, nargs="+", default=[4, 8, 16], help="points a side")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    for name in arguments.model:
        config = load_config("graphcut" if name == "graphcut" else None, arguments.set)
        backend = load_backend(replace(config.backend, name=name))
        samples = find_samples(declared(data("val").parent / "voc_classes"))
        some = [samples[index] for index in spread(len(samples), arguments.pictures)]
        result = measure(some, backend, config, arguments.grid)
        print(f"{name}: {result['images']} pictures, local stage {result['local']:.2f} s")
        for grid, found in result["grids"].items():
            gains = ", ".join(f"{key} {gain(found['scores'][key])}" for key in NUMBERS)
            print(f"  grid {grid}: {found['seconds']:.2f} s; {gains}", flush=True)
        if not arguments.dry_run:
            common = {"part": "votes", **facts(), "changed_files": changed_files()}
            store(RESULTS, {**common, "model": name, "settings": arguments.set, "result": result})


if __name__ == "__main__":
    main()
