"""Check a data set before hours are spent on it: counts, pairs, sizes, kinds of file, ids."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from uosam.datasets.facts import COCO_VALIDATION, FACTS, Facts
from uosam.datasets.layouts import find_curated, list_samples, recognise
from uosam.errors import InputError
from uosam.io.codecs import read_labels
from uosam.io.images import check_same_size, read_image
from uosam.io.stored import MASK_SUFFIXES
from uosam.io.walk import list_files
from uosam.structures import Sample


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What a check found.

    Attributes:
        dataset: key of ``DATASETS``.
        root: the folder.
        split: of the data set.
        pictures: how many the split has here.
        published: how many it should have, or None.
        masks: ground-truth files that were read.
        ids: smallest and largest id in them besides "ignore", or None.
        faults: one line each; empty if all is well.
    """

    dataset: str
    root: str
    split: str
    pictures: int
    published: int | None
    masks: int
    ids: tuple[int, int] | None
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What is wrong with one sample, and the smallest and largest id of its ground truth."""

    faults: tuple[str, ...]
    ids: tuple[int, int] | None = None
    read: bool = False


def check_data(
    root: Path,
    *,
    dataset: str | None = None,
    split: str | None = None,
    masks: Path | None = None,
    workers: int = 1,
    started: Callable[[int], object] = lambda total: None,
    progress: Callable[[], object] = lambda: None,
) -> DataReport:
    """Read every file of a split and collect what is wrong.

    Args:
        root: folder of the data set.
        dataset: key of ``DATASETS``; None recognises it from the folder.
        split: None for the one that is evaluated.
        masks: folder of coarse or refined masks to check against the pictures as well.
        workers: processes.
        started: called with the number of samples.
        progress: called after each sample.

    Raises:
        InputError: the data set is not recognised, or the split or the folder is not there.
        ConfigError: no such data set or split.
    """
    name = dataset or recognise(root)
    facts = FACTS.get(name, Facts(counts={}, split=split or "val", codecs=()))
    split = split or facts.split
    if not root.is_dir():
        raise InputError(f"{root}: expected the root folder of a data set, found none")
    samples = list_samples(name, root, split)
    faults: list[str] = []
    if masks is not None:
        samples, faults = add_masks(samples, masks)
    started(len(samples))
    check = partial(check_sample, facts=facts, labelled=split not in facts.unlabelled)
    checked = []
    for result in _run(check, samples, workers):
        checked.append(result)
        progress()
    pictures = [sample for sample in samples if sample.image]
    published = _published(name, root, split, facts)
    ids = [pair for result in checked if (pair := result.ids)]
    return DataReport(
        dataset=name,
        root=str(root),
        split=split,
        pictures=len(pictures),
        published=published,
        masks=sum(result.read for result in checked),
        ids=(min(low for low, _ in ids), max(high for _, high in ids)) if ids else None,
        faults=(
            *_count_faults(pictures, published, facts),
            *faults,
            *(fault for result in checked for fault in result.faults),
        ),
    )


def add_masks(samples: Sequence[Sample], folder: Path) -> tuple[list[Sample], list[str]]:
    """Give each sample the mask of its name in a folder, and name masks without a picture.

    A mask has the relative path of its picture, or its file name, with or without the ending of
    Cityscapes' pictures; PASS cuts names at the first dot.

    Raises:
        InputError: the folder is missing.
    """
    found: dict[str, Path] = {}
    unreadable: dict[str, str] = {}
    for file in list_files(folder, MASK_SUFFIXES, unreadable):
        name = file.with_suffix("").as_posix()
        # A .npy beside a .png of the same name holds scores, not ids.
        if file.suffix.lower() == ".png" or name not in found:
            found[name] = folder / file
    paired, used = [], set()
    faults = [f"{path}: {reason}" for path, reason in unreadable.items()]
    for sample in samples:
        key = next((key for key in _names(sample) if key in found), None)
        if key is None:
            faults.append(f"{sample.name}: no mask in {folder}")
            paired.append(sample)
        else:
            used.add(key)
            paired.append(replace(sample, coarse=found[key]))
    faults += [
        f"{path}: belongs to no picture of the split"
        for key, path in found.items()
        if key not in used
    ]
    return paired, faults


def check_sample(sample: Sample, facts: Facts, labelled: bool) -> Checked:
    """Read the files of one sample and tell what is wrong with them and with each other."""
    faults: list[str] = []
    image_hw = None
    if sample.image is None:
        owner = sample.target or sample.name
        faults.append(f"{owner}: no picture belongs to it")
    else:
        try:
            image_hw = read_image(sample.image).shape[:2]
        except InputError as error:
            faults.append(str(error))
    if sample.target is None and sample.image is not None and labelled:
        faults.append(f"{sample.image}: no ground truth belongs to it")
    ids, read = None, False
    for path, truth in ((sample.target, True), (sample.coarse, False)):
        if path is None:
            continue
        try:
            file = read_labels(path)
            read = read or truth
            if truth:
                kept = file.labels[file.labels >= 0]
                ids = (int(kept.min()), int(kept.max())) if kept.size else None
                faults += _truth_faults(path, file.spec.codec, ids, facts)
            if sample.image is not None and image_hw is not None:
                check_same_size(sample.image, image_hw, path, file.labels.shape)
        except InputError as error:
            faults.append(str(error))
    return Checked(faults=tuple(faults), ids=ids, read=read)


def _truth_faults(
    path: Path, codec: str, ids: tuple[int, int] | None, facts: Facts
) -> Iterator[str]:
    if facts.codecs and codec not in facts.codecs:
        yield (
            f"{path}: ground truth must be of kind {' or '.join(facts.codecs)}, got {codec}; "
            "it was converted, take the file that the data set ships"
        )
    elif ids is not None and facts.largest is not None and ids[1] > facts.largest:
        yield f"{path}: ids must be 0 to {facts.largest}, got {ids[1]}"


def _published(name: str, root: Path, split: str, facts: Facts) -> int | None:
    # Without the curated list all of COCO's validation pictures are taken.
    if name == "coco-stuff-27" and split == "val2017" and find_curated(root, split) is None:
        return COCO_VALIDATION
    return facts.counts.get(split)


def _count_faults(pictures: Sequence[Sample], published: int | None, facts: Facts) -> Iterator[str]:
    if published is not None and len(pictures) != published:
        yield f"the split must have {published} pictures, got {len(pictures)}"
    elif not pictures:
        yield "the split must have pictures, got none"
    folders = {sample.name.partition("/")[0] for sample in pictures}
    if facts.folders is not None and len(folders) != facts.folders:
        yield f"the split must have {facts.folders} class folders, got {len(folders)}"


def _names(sample: Sample) -> Iterator[str]:
    """Yield the names under which a mask of a sample may be stored."""
    names = [sample.name]
    if sample.image is not None:
        names.append((PurePosixPath(sample.name).parent / sample.image.stem).as_posix())
    for name in names:
        path = PurePosixPath(name)
        yield name
        yield (path.parent / path.name.partition(".")[0]).as_posix()
        yield path.name
        yield path.name.partition(".")[0]


def _run(
    check: Callable[[Sample], Checked], samples: Sequence[Sample], workers: int
) -> Iterator[Checked]:
    if workers <= 1:
        yield from map(check, samples)
        return
    # Spawned, not forked: a fork copies the locks of OpenCV's threads in any state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(check, samples, chunksize=8)
