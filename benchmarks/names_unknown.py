"""When a name should rather be "unknown": accuracy of the names that are given, and how many are.

``python -m benchmarks.names_unknown`` takes the regions of a real network's masks on
``$UOSAM_SHARED/data/voc_classes``, with the ImageNet model's probabilities over the names of VOC,
and puts clusters together from them: some regions of one id, or of one id for the greater part. A
cluster's right name is the class that most of its regions are, by the root of their area. Limits
are chosen on clusters of pictures with even numbers and told for those with odd ones. The row goes
to ``benchmarks/results/names.jsonl``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import data
from benchmarks.names import RESULTS, Looker, right_class
from benchmarks.speed import facts, store
from uosam.datasets.vocabulary import read_vocabulary
from uosam.errors import UosamError
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.io.pairs import find_pairs
from uosam.regions.crops import find_regions
from uosam.regions.naming import Name, NamingOptions, name_clusters, probabilities, similarities
from uosam.regions.views import embed_regions
from uosam.structures import Floats

SIZES = (1, 2, 3, 5, 10, 20)
"""Regions of a cluster."""
PURITIES = (1.0, 0.6)
"""Share of the regions that are of the cluster's own id; the rest are drawn from all others."""
SHARES = (0.0, 0.25, 0.4, 0.5, 0.6, 0.75)
MARGINS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
DRAWS = 40
"""Clusters drawn for each id, size and purity."""
_EVERYTHING = NamingOptions(min_share=0, min_margin=0, min_regions=0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen:
    """One region: its picture, its id, the right class, its share of the picture, (V,) names."""

    picture: str
    label: int
    truth: int
    share: float
    names: Floats


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What was named, and whether that is right."""

    size: int
    purity: float
    name: Name
    right: bool


def look(limit: int | None) -> list[Seen]:
    """Return the regions of the network's masks that have something of a class under them."""
    looker, place = Looker(), data("voc_classes")
    found = []
    for sample in find_pairs(place / "images", place / "coarse_network").samples[:limit]:
        assert sample.image is not None
        assert sample.coarse is not None
        image = read_image(sample.image)
        target = read_with(place / "gt" / f"{sample.name}.png", LabelOptions()).labels
        labels = read_with(sample.coarse, LabelOptions(ignore="none")).labels
        regions = find_regions(labels, sample.name, background=0)
        truths = [right_class(region, target) for region in regions]
        able = [(r, t) for r, t in zip(regions, truths, strict=True) if t is not None]
        if not able:
            continue
        words = looker.words
        embeddings = embed_regions(looker.model, image, [region for region, _ in able], "all")
        similar = similarities(embeddings, words.texts, words.owner, exclusive=True)
        rows = probabilities(similar, np.zeros(len(able), int), scale=looker.model.scale)
        found += [
            Seen(
                picture=sample.name,
                label=region.label,
                truth=truth,
                share=region.share,
                names=row,
            )
            for (region, truth), row in zip(able, rows, strict=True)
        ]
    return found


def draw_clusters(
    seen: Sequence[Seen], names: Sequence[str], ids: dict[str, int], seed: int = 0
) -> list[Cluster]:
    """Put clusters together and name them.

    Args:
        seen: regions to draw from.
        names: that the model can give, in the order of ``Seen.names``.
        ids: class by name.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    labels = np.array([one.label for one in seen])
    clusters = []
    for label in np.unique(labels).tolist():
        own, others = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
        for size in SIZES:
            for purity in PURITIES if size > 1 else PURITIES[:1]:
                mine = round(size * purity)
                if mine > len(own):
                    continue
                for _ in range(DRAWS):
                    drawn = generator.choice(own, mine, replace=False)
                    rest = generator.choice(others, size - mine, replace=False)
                    some = [seen[index] for index in (*drawn.tolist(), *rest.tolist())]
                    clusters.append(_name(some, names, ids, purity))
    return clusters


def _name(some: list[Seen], names: Sequence[str], ids: dict[str, int], purity: float) -> Cluster:
    shares = np.array([one.share for one in some], np.float32)
    (name,) = name_clusters(
        np.stack([one.names for one in some]),
        np.zeros(len(some), np.int64),
        shares,
        [one.picture for one in some],
        names,
        _EVERYTHING,
    ).values()
    truth = np.bincount([one.truth for one in some], weights=np.sqrt(shares)).argmax()
    return Cluster(size=len(some), purity=purity, name=name, right=ids[name.text] == int(truth))


def told(clusters: Sequence[Cluster], share: float, margin: float, least: int) -> dict[str, float]:
    """Return percent of the clusters that get a name under limits, and of these the right ones."""
    kept = [
        one.right
        for one in clusters
        if one.name.share >= share and one.name.margin >= margin and one.size >= least
    ]
    right = 100 * float(np.mean(kept)) if kept else float("nan")
    return {"named": round(100 * len(kept) / len(clusters), 1), "right": round(right, 1)}


def table(clusters: Sequence[Cluster]) -> dict[str, Any]:
    """Return what every pair of limits gives, and what the number of regions says."""
    return {
        "clusters": len(clusters),
        "limits": {
            f"share {share:g}, margin {margin:g}": told(clusters, share, margin, 1)
            for share in SHARES
            for margin in MARGINS
        },
        "by size": {
            str(size): told(some, 0, 0, 1)
            for size in SIZES
            if (some := [one for one in clusters if one.size == size])
        },
        "least regions": {str(least): told(clusters, 0.25, 0.02, least) for least in (1, 2, 3)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--limit", type=int, help="pictures")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    asked = parser.parse_args()
    try:
        seen = look(asked.limit)
    except UosamError as error:
        sys.exit(f"error: {error}")
    vocabulary = read_vocabulary("voc")
    ids = {name: number for number, name in enumerate(vocabulary.names, start=1)}
    names = [name for name in vocabulary.names if name not in vocabulary.without_synsets]
    halves = {
        half: [one for one in seen if int(Path(one.picture).name[-1]) % 2 == odd]
        for odd, half in enumerate(("even", "odd"))
    }
    numbers = {half: table(draw_clusters(some, names, ids)) for half, some in halves.items()}
    for half, found in numbers.items():
        print(half, found["clusters"], found["by size"], found["least regions"])
        for limits, row in found["limits"].items():
            print(f"  {limits:24s} named {row['named']:5.1f}  right {row['right']:5.1f}")
    if not asked.dry_run:
        store(RESULTS, {"part": "unknown", "regions": len(seen), **numbers, **facts()})


if __name__ == "__main__":
    main()
