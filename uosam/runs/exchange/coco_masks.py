"""Masks that come as COCO JSON: refined object by object, and written as COCO JSON again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from uosam.config import Config
from uosam.errors import ConfigError, InputError
from uosam.interchange.coco import CocoFile, CocoPicture, read_coco, read_masks
from uosam.io.atomic import write_atomic
from uosam.io.codecs import LabelOptions, encode_labels, read_labels
from uosam.io.images import IMAGE_SUFFIXES, read_head
from uosam.io.outputs import check_folders
from uosam.io.pairs import Pairs
from uosam.io.walk import list_files
from uosam.regions.records import describe
from uosam.runs.refine import refine_folder
from uosam.runs.summary import Run
from uosam.runs.task import Outcome
from uosam.structures import LabelMap, LabelSpec, Sample
from uosam.text import explain, without_suffix

UNPACKED = ".coarse"
"""Folder of the output that holds the masks of the JSON, a file a picture."""

RESULT = "instances.json"
"""The file that came in, with the refined masks."""

_SPEC = LabelSpec(codec="index16", ignore=65535)


def number_objects(picture: CocoPicture, where: str) -> tuple[LabelMap, list[int]]:
    """Draw the annotations of a picture into one map, each with a number of its own.

    Smaller ones lie on top. Crowds are not drawn: nobody has to find them, and they are not one
    object.

    Returns:
        (H, W) 0, or 1 + the place of the annotation; and the places of those that were drawn.

    Raises:
        InputError: an annotation has no mask of this size, or there are too many.
    """
    drawn = [i for i, note in enumerate(picture.annotations) if not note.crowd]
    if len(picture.annotations) >= 65535:
        raise InputError(f"{where}: {picture.file} has more than 65534 annotations")
    masks = read_masks(replace(picture, annotations=[picture.annotations[i] for i in drawn]), where)
    labels = np.zeros(picture.hw, np.int32)
    for place in np.argsort([-np.count_nonzero(mask) for mask in masks], kind="stable").tolist():
        labels[masks[place]] = drawn[place] + 1
    return labels, drawn


def refine_coco(
    images: Path,
    source: Path,
    out: Path,
    config: Config,
    *,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
    begin: Callable[[int], object] = lambda total: None,
) -> Run:
    """Refine the masks of a COCO file into ``out``: ``instances.json``, and a map of each picture.

    The maps hold the number of the annotation within its picture. Boxes, areas and run lengths
    of the JSON are new, all else stays, crowds and pictures that failed as well.

    Args:
        images: folder of the pictures, which ``file_name`` is relative to, or names of it.
        source: the JSON.
        out: folder of the results.
        config: all settings.
        on_outcome: called with each outcome, in the order of the samples.
        begin: called with the number of pictures once it is known.

    Raises:
        InputError: the JSON is none of COCO, or none of its pictures is there.
        ConfigError: as ``refine_folder``; or settings that say what ids mean.
        BackendError: as ``refine_folder``.
    """
    _check_labels(config.labels)
    check_folders({"output": out}, [images])
    coco = read_coco(source)
    pairs = _unpack(coco, images, out)
    begin(len(pairs.samples))
    labels = replace(config.labels, codec="index16", background=0, ignore=65535)
    run = refine_folder(
        pairs, out, replace(config, labels=labels), inputs=[images], on_outcome=on_outcome
    )
    try:
        write_atomic(out / RESULT, json.dumps(_pack(coco, out, run.failures)).encode())
    except OSError as error:
        raise InputError(f"{out / RESULT}: cannot be written ({error.strerror})") from error
    return run


def _check_labels(options: LabelOptions) -> None:
    given = [
        key
        for key in ("codec", "background", "ignore", "scores")
        if getattr(options, key) != getattr(LabelOptions(), key)
    ]
    if given:
        raise ConfigError(
            f"masks of COCO JSON say what they mean; leave out labels.{given[0]} (or the flag that "
            "sets it)"
        )


def _unpack(coco: CocoFile, images: Path, out: Path) -> Pairs:
    """Write the map of every picture that is there, if it is not written yet."""
    unreadable: dict[str, str] = {}
    found = list_files(images, IMAGE_SUFFIXES, unreadable)
    whole = {file.as_posix(): images / file for file in found}
    names: dict[str, list[Path]] = {}
    for file in found:
        names.setdefault(file.name, []).append(images / file)
    samples, used = [], set()
    for picture in coco.pictures:
        bare = names.get(Path(picture.file).name, [])
        path = whole.get(picture.file) or (bare[0] if len(bare) == 1 else None)
        if path is None:
            unreadable[picture.file] = f"no picture of this name in {images}"
            continue
        used.add(path)
        name = without_suffix(picture.file)
        mask = out / UNPACKED / f"{name}.png"
        try:
            _check_size(path, picture, coco.path)
            data = encode_labels(".png", number_objects(picture, str(coco.path))[0], _SPEC)
            if not mask.is_file() or mask.read_bytes() != data:
                write_atomic(mask, data)
        except (InputError, OSError) as error:
            unreadable[picture.file] = explain(error)
            continue
        samples.append(Sample(name=name, image=path, coarse=mask))
    if not samples:
        reason = next(iter(unreadable.values()), "it has no images")
        raise InputError(f"{coco.path}: no picture of it can be refined: {reason}")
    return Pairs(
        samples=sorted(samples, key=lambda sample: sample.name),
        unpaired_images=[path for path in whole.values() if path not in used],
        unreadable=unreadable,
    )


def _check_size(path: Path, picture: CocoPicture, source: Path) -> None:
    head = read_head(path)
    if head is not None and head[0] != picture.hw:
        hw = head[0]
        raise InputError(
            f"{source}: {picture.file}: height and width must be those of {path}, {hw[0]} and "
            f"{hw[1]}, got {picture.hw[0]} and {picture.hw[1]}"
        )


def _pack(coco: CocoFile, out: Path, failures: Mapping[str, str]) -> dict[str, object]:
    """Return the document of the JSON with refined masks in place of the coarse ones."""
    entries: list[object] = []
    for picture in coco.pictures:
        path = out / f"{without_suffix(picture.file)}.png"
        done = without_suffix(picture.file) not in failures and path.is_file()
        labels = read_labels(path, "index16", ignore=65535).labels if done else None
        entries += (
            _entries(picture, labels, str(coco.path))
            if labels is not None
            else [note.entry for note in picture.annotations]
        )
    return {**coco.document, "annotations": entries}


def _entries(picture: CocoPicture, labels: LabelMap, where: str) -> Sequence[object]:
    before, drawn = number_objects(picture, where)
    entries: list[object] = []
    for place, note in enumerate(picture.annotations):
        mask, old = labels == place + 1, before == place + 1
        if place not in drawn or np.array_equal(mask, old):
            entries.append(note.entry)  # untouched, what others lie on included
            continue
        found = describe(mask)
        x0, y0, x1, y1 = found.box
        bbox = [x0, y0, x1 - x0 + 1, y1 - y0 + 1] if found.area else [0, 0, 0, 0]
        new = {"segmentation": dict(found.segmentation), "area": found.area, "bbox": bbox}
        entries.append({**note.entry, **new})
    return entries
