"""LabelMe: a JSON file of polygons beside each picture (github.com/wkentaro/labelme, version 5).

Shapes are painted in order, as LabelMe's own converters do; what lies in a hole is a later shape,
be it ``_background_``, and ignored pixels are ``__ignore__``, both names of LabelMe's. With a
tolerance of 0 the way back is exact.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import PIL.Image

from uosam.errors import InputError
from uosam.interchange.legend import (
    SIDECAR,
    Files,
    Labelled,
    Legend,
    check_size,
    make_legend,
    read_json,
    read_sidecar,
)
from uosam.interchange.shapes import Patch, check_outline, fill, to_patches
from uosam.structures import IGNORE, LabelMap

BACKGROUND, UNKNOWN = "_background_", "__ignore__"


def encode(pictures: Iterable[Labelled], legend: Legend, tolerance: float) -> Files:
    """Return a JSON file for each picture, and the list of names that LabelMe is started with."""
    titles = {**legend.titles, IGNORE: UNKNOWN}
    if legend.background is not None:
        titles[legend.background] = BACKGROUND
    lines = [UNKNOWN, BACKGROUND, *(titles[i] for i in legend.ids)]
    yield PurePosixPath("labels.txt"), "".join(line + "\n" for line in lines).encode()
    for picture in pictures:
        height, width = picture.labels.shape
        document = {
            "version": "5.5.0",
            "flags": {},
            "shapes": [
                _shape(titles[patch.label], patch)
                for patch in to_patches(picture.labels, legend.background, tolerance)
            ],
            "imagePath": PurePosixPath(picture.file).name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        yield PurePosixPath(f"{picture.name}.json"), (json.dumps(document) + "\n").encode()


def _shape(title: str, patch: Patch) -> dict[str, Any]:
    return {
        "label": title,
        "points": patch.outline.astype(float).tolist(),
        "group_id": None,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
    }


def decode(source: Path, known: Mapping[str, int] | None) -> tuple[Legend, Iterator[Labelled]]:
    """Read the label maps of a folder of LabelMe files; polygons, rectangles, circles and masks.

    Args:
        source: the folder; ``labels.txt`` in it says in which order names are numbered.
        known: name to id, or None.

    Raises:
        InputError: no such folder, or a file in it is none of LabelMe.
    """
    files = sorted(p for p in source.rglob("*.json") if p.name != SIDECAR)
    if not files:
        raise InputError(f"{source}: expected a folder of LabelMe files (.json), found none")
    kept = read_sidecar(source)
    if kept is not None and known is None:
        legend, ids = kept
    else:
        legend, ids = make_legend(_names(source, files), known=known)
    canvas = IGNORE if legend.background is None else legend.background

    def read() -> Iterator[Labelled]:
        for path in files:
            document = _read(path)
            hw = check_size(document.get("imageHeight"), document.get("imageWidth"), str(path))
            labels = np.full(hw, canvas, np.int32)
            for shape in document["shapes"]:
                title = shape["label"]
                label = {UNKNOWN: IGNORE, BACKGROUND: canvas}.get(title, ids.get(title))
                if label is None:
                    raise InputError(
                        f"{path}: class {title!r} is not among the names of the folder; add it to "
                        f"labels.txt, or remove {SIDECAR}"
                    )
                _paint(labels, shape, label, str(path))
            name = path.relative_to(source).with_suffix("").as_posix()
            image = str(document.get("imagePath") or f"{path.stem}.jpg").replace("\\", "/")
            file = PurePosixPath(name).parent / PurePosixPath(image).name
            yield Labelled(name=name, file=file.as_posix(), labels=labels)

    return legend, read()


def _names(source: Path, files: Iterable[Path]) -> list[str]:
    order: list[str] = []
    listed = source / "labels.txt"
    if listed.is_file():
        order += listed.read_text("utf-8", errors="replace").splitlines()
    for path in files:
        order += [shape["label"] for shape in _read(path)["shapes"]]
    return [name for name in order if name and name not in (BACKGROUND, UNKNOWN)]


def _read(path: Path) -> dict[str, Any]:
    document = read_json(path)
    shapes = document.get("shapes") if isinstance(document, dict) else None
    whole = isinstance(shapes, list) and all(
        isinstance(s, dict)
        and isinstance(s.get("label"), str)
        and isinstance(s.get("points"), list)
        for s in shapes
    )
    if not whole:
        raise InputError(f"{path}: expected JSON of LabelMe with 'shapes' of 'label' and 'points'")
    return dict(document)


def _paint(labels: LabelMap, shape: Mapping[str, Any], label: int, where: str) -> None:
    """Paint one shape into a map, as LabelMe's ``shape_to_mask`` draws it."""
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind == "polygon":
        labels[fill([check_outline(points, where)], labels.shape)] = label
        return
    if kind not in ("rectangle", "circle", "mask"):
        return  # lines and points cover nothing
    try:
        (x0, y0), (x1, y1) = (tuple(map(float, point)) for point in points)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected a {kind} of two points x, y") from error
    if not np.isfinite([x0, y0, x1, y1]).all():
        raise InputError(f"{where}: expected a {kind} of finite numbers")
    if kind == "rectangle":
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        labels[fill([corners], labels.shape)] = label
    elif kind == "circle":
        rows, cols = np.ogrid[: labels.shape[0], : labels.shape[1]]
        reach = (x1 - x0) ** 2 + (y1 - y0) ** 2
        labels[(cols - x0) ** 2 + (rows - y0) ** 2 <= reach] = label
    else:
        try:
            data = io.BytesIO(base64.b64decode(shape["mask"]))
            mask = np.asarray(PIL.Image.open(data, formats=["PNG"]).convert("L")) > 0
        except (KeyError, TypeError, ValueError, OSError, binascii.Error) as error:
            raise InputError(f"{where}: expected a mask as base64 of a PNG") from error
        top, left = max(0, round(y0)), max(0, round(x0))
        window = labels[top : top + mask.shape[0], left : left + mask.shape[1]]
        window[mask[: window.shape[0], : window.shape[1]]] = label
