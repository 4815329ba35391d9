"""COCO JSON: run lengths that keep holes, large ids, names and ignored pixels exactly.

One annotation for each class of a picture; pixels nobody vouches for are one more, a crowd of the
category "ignore". Source: cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco

from uosam.errors import InputError
from uosam.interchange.legend import (
    IGNORED,
    Files,
    Labelled,
    Legend,
    check_name,
    check_size,
    read_json,
)
from uosam.interchange.shapes import check_outline
from uosam.regions.records import decode_rle, describe
from uosam.structures import IGNORE, Mask
from uosam.text import without_suffix

FILE = "instances.json"


@dataclass(frozen=True, eq=False, kw_only=True)
class Annotation:
    """One annotation of a picture.

    Attributes:
        entry: as it stands in the file.
        category: id.
        crowd: whether it is a crowd, which in COCO nobody has to find.
    """

    entry: Mapping[str, Any]
    category: int
    crowd: bool

    def mask(self, hw: tuple[int, int], where: str) -> Mask:
        """Return the (H, W) mask.

        Raises:
            InputError: the segmentation is neither run lengths of this size nor polygons.
        """
        found = self.entry.get("segmentation")
        if isinstance(found, dict):
            mask = decode_rle(found)
            if mask.shape != hw:
                raise InputError(f"{where}: expected a mask of {hw} (H, W), got {mask.shape}")
            return mask
        if not isinstance(found, list) or not found:
            raise InputError(
                f"{where}: annotation {self.entry.get('id')!r} has no mask, neither run lengths "
                "nor polygons"
            )
        polygons = found if isinstance(found[0], list) else [found]
        flat = []
        for polygon in polygons:
            if not isinstance(polygon, list) or len(polygon) % 2:
                raise InputError(f"{where}: expected a polygon as x, y, x, y, ...")
            points = check_outline([polygon[i : i + 2] for i in range(0, len(polygon), 2)], where)
            flat.append(points.astype(float).ravel().tolist())
        merged = coco.merge(coco.frPyObjects(flat, *hw))
        return decode_rle({"size": merged["size"], "counts": merged["counts"].decode()})


@dataclass(frozen=True, eq=False, kw_only=True)
class CocoPicture:
    """One picture of a COCO file: id, path, size and annotations in the order of the file."""

    id: int
    file: str
    hw: tuple[int, int]
    annotations: Sequence[Annotation]


@dataclass(frozen=True, eq=False, kw_only=True)
class CocoFile:
    """A COCO file as read: its whole document, the pictures, and names of categories by id."""

    path: Path
    document: Mapping[str, Any]
    pictures: Sequence[CocoPicture]
    categories: Mapping[int, str]


def encode(pictures: Iterable[Labelled], legend: Legend) -> Files:
    """Return ``instances.json``."""
    yield PurePosixPath(FILE), (json.dumps(document(pictures, legend)) + "\n").encode()


def document(pictures: Iterable[Labelled], legend: Legend) -> dict[str, Any]:
    """Return the COCO document of label maps, ready for ``json``."""
    titles = legend.titles
    ignore = max([0, *legend.ids, legend.background or 0]) + 1
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ignored = False
    for number, picture in enumerate(pictures, start=1):
        height, width = picture.labels.shape
        images.append({"id": number, "file_name": picture.file, "height": height, "width": width})
        for label in np.unique(picture.labels).tolist():
            if label == legend.background:
                continue
            found = describe(picture.labels == label)
            x0, y0, x1, y1 = found.box
            ignored |= label == IGNORE
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": ignore if label == IGNORE else label,
                    "iscrowd": int(label == IGNORE),
                    "area": found.area,
                    "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
                    "segmentation": dict(found.segmentation),
                }
            )
    categories: list[dict[str, Any]] = [
        {"id": i, "name": titles[i], "supercategory": ""} for i in legend.ids
    ]
    if ignored:
        categories.append({"id": ignore, "name": IGNORED, "supercategory": IGNORED})
    return {
        "info": {"description": "written by uosam", "background": legend.background},
        "licenses": [],
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }


def decode(source: Path, known: Mapping[str, int] | None) -> tuple[Legend, Iterator[Labelled]]:
    """Read label maps from a COCO file, or the folder that ``encode`` filled.

    Ids are those of categories. Where annotations overlap the smaller one is on top. Pixels of
    none are background; where the file says that there is no background, they are ignored.

    Args:
        source: file or folder.
        known: name to id in place of the file's own ids, or None.

    Raises:
        InputError: no such file, or none of this kind.
    """
    file = read_coco(source / FILE if source.is_dir() else source)
    info = file.document.get("info")
    background = info.get("background", 0) if isinstance(info, dict) else 0
    if not (background is None or (isinstance(background, int) and background >= 0)):
        background = 0
    names = {i: n for i, n in file.categories.items() if n != IGNORED}
    ids = {i: i for i in names}
    if known is not None:
        missing = [name for name in names.values() if name not in known]
        if missing:
            raise InputError(
                f"{file.path}: class {missing[0]!r} has no line in the list of class names; add it"
            )
        ids = {i: known[name] for i, name in names.items()}
    elif background in ids:
        raise InputError(
            f"{file.path}: category id {background} would be the background; "
            "give the list of class names (--classes), which numbers them from 1 on"
        )
    legend = Legend(
        ids=tuple(sorted(set(ids.values()))),
        names={ids[i]: n for i, n in names.items() if n != str(ids[i])},
        background=background,
    )

    def read() -> Iterator[Labelled]:
        for picture in file.pictures:
            rest = IGNORE if background is None else background
            labels = np.full(picture.hw, rest, np.int32)
            masks = read_masks(picture, str(file.path))
            order = np.argsort([-int(mask.sum()) for mask in masks], kind="stable")
            for index in order.tolist():
                labels[masks[index]] = ids.get(picture.annotations[index].category, IGNORE)
            yield Labelled(name=without_suffix(picture.file), file=picture.file, labels=labels)

    return legend, read()


def read_masks(picture: CocoPicture, where: str) -> list[Mask]:
    """Return the (H, W) masks of a picture's annotations; InputError if one is none."""
    return [note.mask(picture.hw, f"{where}: {picture.file}") for note in picture.annotations]


def read_coco(path: Path) -> CocoFile:
    """Read a COCO file of instances: its pictures in order, each with its annotations.

    Raises:
        InputError: it is no such file, in one line that says what is wrong.
    """
    document = read_json(path)
    try:
        if not isinstance(document, dict):
            raise TypeError(f"a {type(document).__name__}")
        categories: dict[int, str] = {}
        for entry in document["categories"]:
            number = int(entry["id"])
            if not 0 <= number < 1 << 31:
                raise ValueError(f"category id {number}; ids must be 0 or more and fit in 32 bits")
            if number in categories:
                raise ValueError(f"category id {number} twice")
            categories[number] = str(entry["name"])
        notes: dict[int, list[Annotation]] = {}
        for entry in document["annotations"]:
            category = int(entry["category_id"])
            if category not in categories:
                raise ValueError(f"category_id {category}, which is not among the categories")
            crowd = bool(entry.get("iscrowd", 0))
            note = Annotation(entry=entry, category=category, crowd=crowd)
            notes.setdefault(int(entry["image_id"]), []).append(note)
        pictures: dict[int, CocoPicture] = {}
        for entry in document["images"]:
            number = int(entry["id"])
            if number in pictures:
                raise ValueError(f"image id {number} twice")
            pictures[number] = CocoPicture(
                id=number,
                file=check_name(entry["file_name"], str(path)),
                hw=check_size(entry["height"], entry["width"], str(path)),
                annotations=notes.pop(number, ()),
            )
        if notes:
            raise ValueError(f"annotations of image_id {next(iter(notes))}, which has no image")
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"{path}: expected COCO JSON with 'images', 'annotations' and 'categories', got {what}"
        ) from error
    _check_twice([picture.file for picture in pictures.values()], path)
    return CocoFile(
        path=path, document=document, pictures=list(pictures.values()), categories=categories
    )


def _check_twice(files: Sequence[str], path: Path) -> None:
    seen: set[str] = set()
    for file in files:
        if without_suffix(file) in seen:
            raise InputError(f"{path}: {file!r} comes twice; give each picture a name of its own")
        seen.add(without_suffix(file))
