"""Semantic masks as Mask2Former and detectron2 train on them, with the numbers of their classes.

Source: ``datasets/prepare_ade20k_sem_seg.py`` and ``register_ade20k_full.py`` of Mask2Former
(Cheng et al., 2022): classes count from 0, PNG of 8 bits with 255 ignored, TIFF of 16 bits with
65535 ignored where there are more. Every pixel has a class; a background is class 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from uosam.errors import InputError
from uosam.interchange.legend import Files, Labelled, Legend, make_legend, read_json, read_sidecar
from uosam.interchange.pixels import encode_ids, read_ids
from uosam.structures import IGNORE

MASKS = "annotations_detectron2"
FILE = "categories.json"


def encode(pictures: Iterable[Labelled], legend: Legend) -> Files:
    """Return a mask for each picture, and ``categories.json`` with what each number means."""
    titles = legend.titles
    order = [*([] if legend.background is None else [legend.background]), *legend.ids]
    titles.update({} if legend.background is None else {legend.background: "background"})
    wide = len(order) > 255
    ignore = 65535 if wide else 255
    categories = [
        {"id": number, "name": titles[label], "dataset_id": label}
        for number, label in enumerate(order)
    ]
    document = {"ignore_label": ignore, "categories": categories}
    yield PurePosixPath(FILE), (json.dumps(document, indent=1) + "\n").encode()
    known = np.array(order)
    ranks = np.argsort(known, kind="stable")
    for picture in pictures:
        labels = picture.labels
        at = np.searchsorted(known, labels, sorter=ranks).clip(max=len(known) - 1)
        stored = np.where(labels == IGNORE, ignore, ranks[at])
        data = encode_ids(stored.astype(np.uint16 if wide else np.uint8))
        suffix = ".tif" if wide else ".png"
        yield PurePosixPath(MASKS, picture.name + suffix), data


def decode(source: Path, known: Mapping[str, int] | None) -> tuple[Legend, Iterator[Labelled]]:
    """Read the label maps of a folder that ``encode`` filled.

    Args:
        source: the folder.
        known: name to id, or None for the ids of the data set that was exported.

    Raises:
        InputError: no such folder, or a file in it is none of this kind.
    """
    path = source / FILE
    document = read_json(path)
    try:
        ignore = int(document["ignore_label"])
        entries = [
            (int(c["id"]), str(c["name"]), int(c.get("dataset_id", c["id"])))
            for c in document["categories"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: expected 'ignore_label' and 'categories' of 'id' and 'name', got {error!r}"
        ) from error
    kept = read_sidecar(source)
    if known is not None:
        names = [name for _, name, _ in entries if name != "background"]
        legend, ids = make_legend(names, known=known)
        values = {number: ids.get(name, 0) for number, name, _ in entries}
    else:
        has_rest = any(name == "background" for _, name, _ in entries)
        background = next((label for _, name, label in entries if name == "background"), None)
        legend = Legend(
            ids=tuple(sorted(label for _, _, label in entries if label != background)),
            names={label: name for _, name, label in entries if name != str(label)},
            background=background if has_rest else None,
        )
        legend = legend if kept is None else kept[0]
        values = {number: label for number, _, label in entries}
    values[ignore] = IGNORE
    folder = source / MASKS
    files = sorted([*folder.rglob("*.png"), *folder.rglob("*.tif")])
    if not files:
        raise InputError(f"{source}: expected masks in {folder}, found none")

    def read() -> Iterator[Labelled]:
        for file in files:
            name = file.relative_to(folder).with_suffix("").as_posix()
            stored = read_ids(file)
            present, index = np.unique(stored, return_inverse=True)
            missing = [number for number in present.tolist() if number not in values]
            if missing:
                raise InputError(f"{file}: holds {missing[0]}, which {FILE} has no entry for")
            table = np.array([values[number] for number in present.tolist()], np.int32)
            yield Labelled(name=name, file=f"{name}.jpg", labels=table[index.reshape(stored.shape)])

    return legend, read()
