"""How often a region gets its right name, by how it is shown and by whose mask it is.

``python -m benchmarks.names`` works on ``$UOSAM_SHARED/data/voc_classes`` and ``val/objects_voc``
with the ImageNet model and the twenty names of VOC. Regions are those of the ground truth, of the
coarse masks, of what ``uosam refine`` makes of them, and of a real network's masks before and
after; each is shown in every view. A region's right name is the class that the truth has most of
under it, background aside. Prints the table of ``docs/names.md`` and appends a row to
``benchmarks/results/names.jsonl``. ``--speed`` names 1,000 regions of 200 pictures instead, and
``--clusters`` takes the ids of the network's masks for clusters of unknown meaning, names them and
scores the maps that the names give, beside the best matching.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

import uosam
from benchmarks.accuracy import data
from benchmarks.speed import facts, store
from uosam.backends import load_backend
from uosam.backends.text.models import TextOptions, load_image_text
from uosam.config import Config, load_config
from uosam.datasets.class_names import synset_names
from uosam.datasets.vocabulary import read_vocabulary
from uosam.errors import UosamError
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.io.pairs import find_pairs
from uosam.pipeline import refine
from uosam.regions.crops import Region, find_regions, whole_mask
from uosam.regions.naming import NamingOptions, probabilities, similarities
from uosam.regions.plans import plan_target
from uosam.regions.views import embed_regions
from uosam.runs.naming.apply import apply_names
from uosam.runs.naming.parts import NameOptions
from uosam.runs.naming.vote import Words, ask_for, name_folder
from uosam.structures import Backend, Floats, Image, ImageText, LabelMap, Sample

RESULTS = Path(__file__).parent / "results" / "names.jsonl"
SETS = (("voc_classes", ("coarse", "coarse_network")), ("val/objects_voc", ("coarse",)))
PARTS = ("crop", "masked", "pooled")
VIEWS = {
    "crop": ("crop",),
    "masked": ("masked",),
    "both": ("crop", "masked"),
    "pooled": ("pooled",),
    "all": PARTS,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Found:
    """One region: whose mask, which picture and id, the right class, and what each view says."""

    source: str
    picture: str
    part: tuple[int, int]
    truth: int
    names: dict[str, int]


def right_class(region: Region, target: LabelMap) -> int | None:
    """Return the class that the truth has most of under a region, or None without any."""
    under = target[whole_mask(region, target.shape) & (target > 0)]
    return int(np.bincount(under).argmax()) if len(under) else None


def name_in_every_view(
    model: ImageText, words: Words, image: Image, regions: list[Region]
) -> list[dict[str, int]]:
    """Return the index of the name that each view gives to each region."""
    parts = {part: embed_regions(model, image, regions, part) for part in PARTS}
    found: list[dict[str, int]] = [{} for _ in regions]
    for view, used in VIEWS.items():
        mean: Floats = np.mean([parts[part] for part in used], axis=0)
        similar = similarities(mean, words.texts, words.owner, exclusive=model.exclusive)
        best = probabilities(similar, np.zeros(len(regions), int), scale=model.scale).argmax(1)
        for names, index in zip(found, best.tolist(), strict=True):
            names[view] = index
    return found


@dataclass(eq=False)
class Looker:
    """What a process needs to name the regions of pictures; loaded when it is first asked."""

    @cached_property
    def model(self) -> ImageText:
        """The ImageNet model."""
        return load_image_text(TextOptions(device="cpu"), tuple(synset_names()))

    @cached_property
    def words(self) -> Words:
        """The names of VOC."""
        return ask_for(read_vocabulary("voc"), self.model)

    @cached_property
    def backend(self) -> Backend:
        """The segmenter that refines."""
        return load_backend(self.config.backend)

    @cached_property
    def config(self) -> Config:
        """The settings of refining: the defaults."""
        return load_config()

    def look(self, folder: str, sources: tuple[str, ...], sample: Sample) -> list[Found]:
        """Return every region of every source of a picture, with its names."""
        assert sample.image is not None
        assert sample.coarse is not None
        image = read_image(sample.image)
        target = read_with(sample.coarse, LabelOptions()).labels
        maps = {"truth": target}
        for source in sources:
            mask = data(folder) / source / f"{sample.name}.png"
            coarse = read_with(mask, LabelOptions(ignore="none")).labels
            maps[source] = coarse
            refined = refine(image, coarse, self.backend, self.config.refine, background=0)
            maps[source.replace("coarse", "refined")] = refined.ids
        ids = {name: number for number, name in enumerate(read_vocabulary("voc").names, start=1)}
        found = []
        for source, labels in maps.items():
            regions = find_regions(labels, sample.name, background=0)
            truths = [right_class(region, target) for region in regions]
            able = [(r, t) for r, t in zip(regions, truths, strict=True) if t is not None]
            if not able:
                continue
            named = name_in_every_view(self.model, self.words, image, [r for r, _ in able])
            found += [
                Found(
                    source=source,
                    picture=f"{folder}/{sample.name}",
                    part=(region.label, region.component),
                    truth=truth,
                    names={view: ids[self.words.names[index]] for view, index in names.items()},
                )
                for (region, truth), names in zip(able, named, strict=True)
            ]
        return found


_looker = Looker()


def _look(task: tuple[str, tuple[str, ...], Sample]) -> list[Found]:
    return _looker.look(*task)


def score(found: list[Found], lacking: set[int]) -> dict[str, Any]:
    """Return accuracies by source and view, in percent; nan where there is no region."""
    by_source: dict[str, list[Found]] = defaultdict(list)
    for one in found:
        by_source[one.source].append(one)
    table: dict[str, Any] = {}
    for source, ones in by_source.items():
        able = [one for one in ones if one.truth not in lacking]
        odd = [one for one in able if int(one.picture[-1]) % 2]
        table[source] = {
            "regions": len(ones),
            "with a counterpart": len(able),
            "top1": {view: _share(able, view) for view in VIEWS},
            "top1 of odd pictures": {view: _share(odd, view) for view in VIEWS},
            "top1 of all twenty": {view: _share(ones, view) for view in VIEWS},
        }
    table["same objects"] = _same_objects(by_source, lacking)
    return table


def _share(ones: list[Found], view: str) -> float:
    right = [one.names[view] == one.truth for one in ones]
    return round(100 * float(np.mean(right)), 1) if right else float("nan")


def _same_objects(by_source: dict[str, list[Found]], lacking: set[int]) -> dict[str, Any]:
    """Score objects that truth, coarse and refined map all have, by their largest part."""
    maps = {
        source: {(one.picture, one.part[0]): one for one in by_source[source] if one.part[1] == 0}
        for source in ("truth", "coarse", "refined")
    }
    shared = set.intersection(*(set(found) for found in maps.values()))
    keys = sorted(key for key in shared if key[1] not in lacking)
    scores: dict[str, Any] = {"objects": len(keys)}
    for source, found in maps.items():
        scores[source] = {
            view: round(100 * float(np.mean([found[key].names[view] == key[1] for key in keys])), 1)
            for view in VIEWS
        }
    return scores


def accuracy(limit: int | None, workers: int) -> dict[str, Any]:
    """Name the regions of both sets, or of as many pictures of each as ``limit`` says."""
    tasks = []
    for folder, sources in SETS:
        samples = find_pairs(data(folder) / "images", data(folder) / "gt").samples
        tasks += [(folder, sources, sample) for sample in samples[:limit]]
    found: list[Found] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for number, some in enumerate(pool.map(_look, tasks), start=1):
            found += some
            if number % 20 == 0:
                print(number, "of", len(tasks), "pictures", file=sys.stderr)
    vocabulary = read_vocabulary("voc")
    lacking = {
        number
        for number, name in enumerate(vocabulary.names, start=1)
        if name in vocabulary.without_synsets
    }
    return {"pictures": len(tasks), **score(found, lacking)}


def speed(workers: int) -> dict[str, Any]:
    """Time 1,000 regions of 200 pictures: stripes, five a picture, that vote for five clusters."""
    samples = find_pairs(data("voc_classes") / "images", data("voc_classes") / "gt").samples[:200]
    with tempfile.TemporaryDirectory() as place:
        for sample in samples:
            assert sample.image is not None
            image = read_image(sample.image)
            stripes = np.arange(image.shape[1]) * 5 // image.shape[1] + 1
            mask = np.broadcast_to(stripes, image.shape[:2]).astype(np.uint8)
            Path(place, "masks").mkdir(exist_ok=True)
            PIL.Image.fromarray(mask).save(Path(place, "masks", f"{sample.name}.png"))
        pairs = find_pairs(data("voc_classes") / "images", Path(place, "masks"))
        start, before = time.perf_counter(), _processor_seconds()
        named = name_folder(
            pairs,
            Path(place, "out"),
            read_vocabulary("voc"),
            NameOptions(workers=workers, text=TextOptions(device="cpu")),
            NamingOptions(),
        )
        wall, used = time.perf_counter() - start, _processor_seconds() - before
    return {
        "pictures": len(pairs.samples),
        "regions": len(named.regions),
        "workers": workers,
        "seconds": round(wall, 1),
        "processor seconds": round(used, 1),
        "largest process, MB": round(max(resource.getrusage(who).ru_maxrss for who in _ALL) / 1024),
    }


_ALL = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _processor_seconds() -> float:
    """Return the seconds that this process and its finished children worked."""
    used = [resource.getrusage(who) for who in _ALL]
    return sum(one.ru_utime + one.ru_stime for one in used)


def clusters() -> dict[str, Any]:
    """Name the ids of the network's masks, and score the named maps."""
    place = data("voc_classes")
    vocabulary = read_vocabulary("voc")
    pairs = find_pairs(place / "images", place / "coarse_network")
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        named = name_folder(
            pairs,
            Path(folder, "names"),
            vocabulary,
            NameOptions(text=TextOptions(device="cpu")),
            NamingOptions(min_regions=1),
        )
        found = {label: name.text for label, name in named.clusters.items()}
        plan = plan_target(
            found,
            [entry.words for entry in vocabulary.entries],
            has_background=True,
            background=0,
        )
        apply_names(pairs, Path(folder, "named"), plan, LabelOptions())
        ways = {"none": Path(folder, "named"), "iou": place / "coarse_network"}
        for matching, masks in ways.items():
            scores = uosam.evaluate(
                masks, place / "gt", protocol="voc-standard", matching=matching, resamples=0
            ).scores
            numbers[f"mIoU, matching {matching}"] = round(100 * scores["mIoU"], 1)
    counts = np.zeros((21, 21), np.int64)
    for sample in pairs.samples:
        assert sample.coarse is not None
        target = read_with(place / "gt" / f"{sample.name}.png", LabelOptions()).labels
        labels = read_with(sample.coarse, LabelOptions()).labels
        known = (target >= 0) & (labels >= 0)
        np.add.at(counts, (labels[known], target[known]), 1)
    truths = {label: int(counts[label, 1:].argmax()) + 1 for label in found}
    ids = {name: number for number, name in enumerate(vocabulary.names, start=1)}
    right = {label: ids.get(name) == truths[label] for label, name in found.items()}
    pixels = {label: int(counts[label].sum()) for label in found}
    numbers["names"] = {
        label: f"{name} ({vocabulary.names[truths[label] - 1]})" for label, name in found.items()
    }
    numbers["ids named right"] = f"{sum(right.values())} of {len(right)}"
    numbers["pixels of ids named right"] = round(
        100 * sum(pixels[label] for label in found if right[label]) / sum(pixels.values()), 1
    )
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speed", action="store_true", help="time 1,000 regions instead")
    parser.add_argument("--clusters", action="store_true", help="name and score clusters instead")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--limit", type=int, help="pictures of each set")
    arguments = parser.parse_args()
    try:
        part = "speed" if arguments.speed else "clusters" if arguments.clusters else "accuracy"
        numbers = {
            "speed": lambda: speed(arguments.workers),
            "clusters": clusters,
            "accuracy": lambda: accuracy(arguments.limit, arguments.workers),
        }[part]()
    except UosamError as error:
        sys.exit(f"error: {error}")
    store(RESULTS, {"part": part, **numbers, **facts()})
    for source, row in numbers.items():
        print(source, row)


if __name__ == "__main__":
    main()
