"""Which clusters to begin with: k-means on a segmenter's features, or on ImageNet's.

``python -m benchmarks.clusters`` finds as many clusters as there are classes in pictures of
``$UOSAM_SHARED/data``, at the size of ``benchmarks.loop``,
and scores them with a Hungarian matching of pixels. A row for each way and set goes to
``benchmarks/results/clusters.jsonl``; what is in it is not done again. ``--table`` writes the table
of docs/coarse.md from them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy import TOP, changed_files
from benchmarks.loop import SIDE, Source, done, prepare
from benchmarks.loop_scores import HEADLINES
from benchmarks.marked import fill
from benchmarks.speed import facts, store
from uosam.errors import UosamError
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions
from uosam.io.pairs import find_pictures
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions

RESULTS = Path(__file__).parent / "results" / "clusters.jsonl"
PAGE = TOP / "docs" / "coarse.md"
SETS = {
    "street": Source(folder="val/street", amount=12),
    "plants": Source(folder="val/plants", amount=12),
    "aerial": Source(folder="val/aerial", amount=12),
    "voc_classes": Source(folder="voc_classes", amount=16),
    "facade": Source(folder="train/facade", amount=12, flat=True),
    "camvid": Source(folder="train/camvid", amount=12, ignore=11, flat=True),
    "val facade": Source(folder="val/facade", amount=20),
    "garments": Source(folder="val/garments", amount=15),
    "objects_voc": Source(folder="val/objects_voc", amount=20),
    "indoor": Source(folder="val/indoor", amount=12),
    "ccp": Source(folder="train/ccp", amount=24, flat=True),
}
"""Ids of indoor number regions of a picture, not classes."""
WAYS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "kmeans, graphcut": ("kmeans", {"backend": "graphcut"}),
    "kmeans, tiny": ("kmeans", {"backend": "tiny"}),
    "clusters": ("clusters", {}),
    "clusters, whiten": ("clusters", {"space": "whiten"}),
    "clusters, over 5": ("clusters", {"over": 5}),
}


def table(lines: Iterable[str]) -> str:
    """Return the table of stored rows: a row for each set, a column for each way that has all."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in map(json.loads, lines):
        rows.setdefault((row["set"], row["way"]), []).append(row)
    sets = [name for name in SETS if any(key[0] == name for key in rows)]
    ways = [way for way in WAYS if all((name, way) in rows for name in sets)]
    means = {
        key: np.array([100 * np.mean([row[score] for row in own]) for score in HEADLINES])
        for key, own in rows.items()
    }
    text = [f"| set, pictures, classes | {' | '.join(ways)} |", "|---|" + "---|" * len(ways)]
    for name in sets:
        first = rows[name, ways[0]][0]
        cells = ["{:.1f} / {:.1f}".format(*means[name, way]) for way in ways]
        head = f"{name}, {first['images']}, {first['classes']}"
        text.append(f"| {head} | {' | '.join(cells)} |")
    whole = [np.mean([means[name, way] for name in sets], axis=0) for way in ways]
    cells = ["{:.1f} / {:.1f}".format(*mean) for mean in whole]
    text.append(f"| mean of {len(sets)} | {' | '.join(cells)} |")
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--work", type=Path, default=Path("loop_out/clusters"))
    parser.add_argument("--table", action="store_true", help="write the table, measure nothing")
    arguments = parser.parse_args()
    if arguments.table:
        inner = table(RESULTS.read_text(encoding="utf-8").splitlines())
        PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), inner, "clusters"), encoding="utf-8")
        return
    torch.set_num_threads(1)
    shared = Path(os.environ.get("UOSAM_SHARED", TOP.parent / "shared"))
    common = {**facts(), "changed_files": changed_files(), "side": SIDE}
    options = EvaluateOptions(background="none", matching="pixels")
    for seed in arguments.seeds:
        for name in arguments.sets:
            source = SETS[name]
            work = arguments.work / f"{name.replace(' ', '_')}-{source.amount}"
            classes = 0
            for way in arguments.ways:
                key = {"part": "clusters", "set": name, "seed": seed, "way": way}
                if done(RESULTS, key):
                    continue
                model, settings = WAYS[way]
                start = time.process_time()
                try:
                    classes = classes or prepare(shared / "data", source, work)
                    chosen = {**settings, "classes": classes, "seed": seed}
                    pictures, _ = find_pictures(work / "images")
                    out = work / f"{way.replace(', ', '_').replace(' ', '')}-{seed}"
                    label_folder(
                        pictures, out, CoarseOptions(model=model, settings=chosen, device="cpu")
                    )
                    seconds = time.process_time() - start
                    values = evaluate([out], work / "gt", options).methods[0].values
                except UosamError as error:
                    sys.exit(f"error: {name}, {way}: {error}")
                row = {key: values[key] for key in HEADLINES}
                row |= {"images": len(pictures), "classes": classes, "seconds": round(seconds, 1)}
                store(RESULTS, {**common, **key, **row})
                text = "  ".join(f"{value} {100 * row[value]:.1f}" for value in HEADLINES)
                print(f"{name} {seed}  {way}: {text}", flush=True)


if __name__ == "__main__":
    main()
