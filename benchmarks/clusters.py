"""Which clusters to begin with: k-means on a segmenter's features, or on ImageNet's.

``python -m benchmarks.clusters`` finds as many clusters as there are classes in pictures of
``$UOSAM_SHARED/data``, at the size of ``benchmarks.loop``,
and scores them with a Hungarian matching of pixels. A row for each way and set goes to
``benchmarks/results/clusters.jsonl``; what is in it is not done again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy import TOP, changed_files
from benchmarks.loop import HEADLINES, SIDE, Source, done, prepare
from benchmarks.speed import facts, store
from uosam.errors import UosamError
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions
from uosam.io.pairs import find_pictures
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions

RESULTS = Path(__file__).parent / "results" / "clusters.jsonl"
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--work", type=Path, default=Path("loop_out/clusters"))
    arguments = parser.parse_args()
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
