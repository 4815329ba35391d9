"""What refined masks of a network would score if one thing in them were right.

``python -m benchmarks.network_bounds`` refines ``$UOSAM_SHARED/data/voc_classes`` with default
settings, mends the maps with the truth in hand, one thing at a time, and appends a row to
``benchmarks/results/network.jsonl``, from which ``benchmarks.network --fill`` makes a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy import changed_files, data
from benchmarks.network import RESULTS, declared
from benchmarks.network_scores import count, score
from benchmarks.speed import facts, store
from uosam.backends import load_backend
from uosam.bench.cell import read_sample
from uosam.bench.leaderboard import find_samples
from uosam.bench.set import BenchSet
from uosam.config import load_config
from uosam.metrics.counts import PairCounts, collect
from uosam.pipeline import refine
from uosam.structures import IGNORE, LabelMap, Sample


def as_it_is(labels: LabelMap, target: LabelMap) -> LabelMap:
    """Leave the refined map alone."""
    del target
    return labels


def without_absent(labels: LabelMap, target: LabelMap) -> LabelMap:
    """Give classes that the picture does not show to the background.

    >>> without_absent(np.array([3, 5, 0]), np.array([3, 0, 0])).tolist()
    [3, 0, 0]
    """
    return np.where(np.isin(labels, np.unique(target)), labels, 0).astype(np.int32)


def named_right(labels: LabelMap, target: LabelMap) -> LabelMap:
    """Give every class of the map the class that most of its pixels truly have.

    >>> named_right(np.array([5, 5, 5, 0]), np.array([3, 3, 0, 0])).tolist()
    [3, 3, 3, 0]
    """
    named = labels.copy()
    for label in np.unique(labels[labels > 0]).tolist():
        true = target[(labels == label) & (target != IGNORE)]
        if len(true):
            named[labels == label] = np.bincount(true).argmax()
    return named


def drawn_right(labels: LabelMap, target: LabelMap) -> LabelMap:
    """Give every class of the map that the picture shows its true shape.

    >>> drawn_right(np.array([3, 5, 0]), np.array([0, 3, 3])).tolist()
    [0, 3, 3]
    """
    shown = [label for label in np.unique(labels).tolist() if label > 0 and (target == label).any()]
    drawn = np.where(np.isin(labels, shown), 0, labels)
    return np.where(np.isin(target, shown), target, drawn).astype(np.int32)


MENDED: dict[str, Callable[[LabelMap, LabelMap], LabelMap]] = {
    "as it is": as_it_is,
    "without classes that the picture does not show": without_absent,
    "each class renamed to what most of it is": named_right,
    "the true shape of each class that is there": drawn_right,
}


def measure(where: BenchSet, samples: Sequence[Sample], settings: Sequence[str]) -> dict[str, Any]:
    """Score the default's maps mended in every way; gains are over the network's masks."""
    config = load_config(None, settings)
    backend = load_backend(config.backend)
    coarse: list[tuple[str, PairCounts]] = []
    mended: dict[str, list[tuple[str, PairCounts]]] = {name: [] for name in MENDED}
    for sample in samples:
        image, before, target = read_sample(sample, where)
        labels = refine(image, before, backend, config.refine, background=0).labels
        coarse.append((sample.name, count(before, target)))
        for name, mend in MENDED.items():
            mended[name].append((sample.name, count(mend(labels, target), target)))
    base = collect(coarse)
    no_time = [0.0] * len(samples)
    return {
        name: score(base, collect(one), no_time, len(samples))["scores"]
        for name, one in mended.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, help="pictures; default: all")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    where = declared(data("val").parent / "voc_classes")
    samples = find_samples(where)[: arguments.limit]
    row = {"part": "bounds", **facts(), "changed_files": changed_files()}
    found = measure(where, samples, arguments.set)
    store(RESULTS, {**row, "settings": arguments.set, "images": len(samples), "bounds": found})


if __name__ == "__main__":
    main()
