"""Which prediction belongs to which ground truth."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uosam.errors import InputError
from uosam.io.pairs import find_pairs
from uosam.io.stored import MASK_SUFFIXES, OTHER_MASKS, explain_kind
from uosam.io.walk import list_files
from uosam.metrics.protocols import Stored

_CITYSCAPES_TARGET = "_gtFine_labelIds.png"
_CITYSCAPES_ENDINGS = ("_gtFine_labelIds", "_leftImg8bit")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image of an evaluation.

    Attributes:
        name: relative path of the ground truth without suffix.
        target: the ground truth.
        preds: the prediction of each method.
    """

    name: str
    target: Path
    preds: tuple[Path, ...]


def find_jobs(
    preds: Sequence[Path], target: Path, stored: Stored = "ids"
) -> tuple[list[Job], list[str]]:
    """Pair the files of every method with the ground truth.

    Cityscapes keeps other files beside its ``*_gtFine_labelIds.png``; only these are taken, and
    city_000_000 is the same image with either of the data set's endings or none.

    Args:
        preds: folder or file of each method.
        target: folder or file of the ground truth.
        stored: of the protocol.

    Returns:
        The images that every method has, in order of name, and a line for each missing or extra
        prediction and each folder that cannot be listed.

    Raises:
        InputError: a folder is missing, one side is a file and the other a folder, or two files
            claim the same partner.
    """
    for pred in preds:
        sides = (pred, target)
        if all(path.exists() for path in sides) and pred.is_file() != target.is_file():
            file, folder = sides if pred.is_file() else sides[::-1]
            raise InputError(
                f"expected two folders, or two files that make a pair, got the file {file} and the "
                f"folder {folder}; give two of a kind"
            )
    found: list[dict[Path, Path]] = []
    faults: list[str] = []
    cityscapes = stored == "cityscapes" and target.is_dir() and bool(_cityscapes_targets(target))
    for pred in preds:
        if cityscapes:
            matched, missing, extra, unreadable = _pair_cityscapes(pred, target)
        else:
            pairs = find_pairs(target, pred, image_suffixes=MASK_SUFFIXES)
            if not pairs.samples and target.is_dir():
                others = list_files(target, OTHER_MASKS, {})
                if others and not pairs.unpaired_images:
                    kind = explain_kind(others[0].suffix.lower())
                    faults.append(f"{target / others[0]}: {kind}")
            matched = {s.image: s.coarse for s in pairs.samples if s.image and s.coarse}
            missing, extra = list(pairs.unpaired_images), list(pairs.unpaired_masks)
            unreadable = [f"{path}: {why}" for path, why in pairs.unreadable.items()]
        found.append(matched)
        faults += unreadable
        faults += [f"{path}: no prediction in {pred}" for path in missing]
        faults += [f"{path}: no ground truth in {target}" for path in extra]
    shared = set.intersection(*(set(matched) for matched in found)) if found else set()
    if not shared and not faults:
        faults.append(f"{target}: expected label maps, found none")
    root = target if target.is_dir() else target.parent
    jobs = [
        Job(
            name=path.relative_to(root).with_suffix("").as_posix(),
            target=path,
            preds=tuple(matched[path] for matched in found),
        )
        for path in sorted(shared)
    ]
    # By name, as counts are collected; paths sort otherwise ("a-b/x" comes after "a/x").
    jobs.sort(key=lambda job: job.name)
    return jobs, list(dict.fromkeys(faults))


def _pair_cityscapes(
    pred: Path, target: Path
) -> tuple[dict[Path, Path], list[Path], list[Path], list[str]]:
    """Pair by name without the data set's endings, in whatever folders the files lie."""
    unreadable: dict[str, str] = {}
    targets = {_image_id(path): path for path in _cityscapes_targets(target, unreadable)}
    masks = [pred / file for file in list_files(pred, MASK_SUFFIXES, unreadable)]
    matched: dict[Path, Path] = {}
    extra, twice = [], []
    for mask in masks:
        truth = targets.get(_image_id(mask))
        if truth is None:
            extra.append(mask)
        elif truth in matched:
            twice.append(f"{mask}: {matched[truth]} is of the same image; remove one")
        else:
            matched[truth] = mask
    missing = [path for path in targets.values() if path not in matched]
    faults = [f"{path}: {why}" for path, why in unreadable.items()]
    return matched, missing, extra, [*faults, *twice]


def _cityscapes_targets(folder: Path, unreadable: dict[str, str] | None = None) -> list[Path]:
    files = list_files(folder, [".png"], {} if unreadable is None else unreadable)
    return [folder / file for file in files if file.name.endswith(_CITYSCAPES_TARGET)]


def _image_id(path: Path) -> str:
    """Return the name without suffix and without the data set's ending.

    >>> _image_id(Path("a/ulm_000_001_gtFine_labelIds.png"))
    'ulm_000_001'
    """
    name = unicodedata.normalize("NFC", path.stem)
    for ending in _CITYSCAPES_ENDINGS:
        name = name.removesuffix(ending)
    return name
