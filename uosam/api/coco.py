"""The objects of one picture in COCO JSON, as ids with the names of their categories."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uosam.errors import InputError
from uosam.interchange.coco import read_coco
from uosam.io.codecs import LabelFile
from uosam.runs.exchange.coco_masks import number_objects
from uosam.structures import LabelSpec

if TYPE_CHECKING:
    from typing import TypeGuard


def is_coco(mask: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Tell whether a mask is the path of a JSON file.

    >>> is_coco("instances.json"), is_coco("mask.png")
    (True, False)
    """
    return isinstance(mask, (str, os.PathLike)) and Path(mask).suffix.lower() == ".json"


def from_coco(mask: str | os.PathLike[str], image: Any) -> LabelFile:
    """Read the objects of a picture: 0, or 1 + the place of the annotation in its picture.

    Args:
        mask: path of the JSON.
        image: path of the picture; its end is the ``file_name`` of the JSON.

    Raises:
        InputError: the JSON is none of COCO, or ``image`` is no path, or not in it.
    """
    if not isinstance(image, (str, os.PathLike)):
        raise InputError(f"{mask}: COCO JSON holds many pictures; give the path of this one")
    coco = read_coco(Path(mask))
    parts = Path(image).parts
    found = [p for p in coco.pictures if parts[-len(Path(p.file).parts) :] == Path(p.file).parts]
    if not found:
        found = [p for p in coco.pictures if Path(p.file).name == parts[-1]]
    if len(found) != 1:
        raise InputError(
            f"{mask}: expected one entry for {image} among its {len(coco.pictures)} images, found "
            f"{len(found)}"
        )
    labels, drawn = number_objects(found[0], str(mask))
    names = {i + 1: coco.categories[found[0].annotations[i].category] for i in drawn}
    spec = LabelSpec(codec="npy", ignore=-1, dtype="int32", names=names)
    return LabelFile(labels=labels, spec=spec, stored=labels)
