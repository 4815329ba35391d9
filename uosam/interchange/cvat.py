"""CVAT for images 1.1: one XML of masks, exact, or of polygons within a tolerance.

Source: docs.cvat.ai, "CVAT for images". A mask's run lengths count from zeros on, row by row, in
its box. Polygons are painted by ``z_order``; CVAT's coordinates begin at the corner of a pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from uosam.errors import InputError
from uosam.interchange.legend import (
    IGNORED,
    SIDECAR,
    Files,
    Labelled,
    Legend,
    check_name,
    check_size,
    make_legend,
    read_sidecar,
)
from uosam.interchange.shapes import check_outline, fill, to_patches
from uosam.structures import IGNORE, LabelMap, Mask
from uosam.text import without_suffix

FILE = "annotations.xml"
_BACKGROUND = "background"


def encode(pictures: Iterable[Labelled], legend: Legend, tolerance: float) -> Files:
    """Return ``annotations.xml``: masks, or polygons if ``tolerance`` is above 0."""
    titles = {**legend.titles, IGNORE: IGNORED}
    if legend.background is not None:
        titles[legend.background] = _BACKGROUND
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    used: dict[str, None] = dict.fromkeys(titles[i] for i in legend.ids)
    for number, picture in enumerate(pictures):
        height, width = picture.labels.shape
        image = SubElement(root, "image", id=str(number), name=picture.file)
        image.set("width", str(width))
        image.set("height", str(height))
        if tolerance > 0:
            patches = to_patches(picture.labels, legend.background, tolerance)
            for order, patch in enumerate(patches):
                used[titles[patch.label]] = None
                points = ";".join(f"{x + 0.5:.2f},{y + 0.5:.2f}" for x, y in patch.outline)
                shape = SubElement(image, "polygon", label=titles[patch.label], source="auto")
                shape.attrib.update(occluded="0", points=points, z_order=str(order))
            continue
        for label in np.unique(picture.labels).tolist():
            if label != legend.background:
                used[titles[label]] = None
                _add_mask(image, titles[label], picture.labels == label)
    for name in used:
        label_node = SubElement(labels, "label")
        SubElement(label_node, "name").text = name
        SubElement(label_node, "type").text = "any"
        SubElement(label_node, "attributes")
    ElementTree.indent(root)
    yield PurePosixPath(FILE), ElementTree.tostring(root, "utf-8", xml_declaration=True)


def _add_mask(image: Element, title: str, mask: Mask) -> None:
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    window = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    flat = window.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), len(flat) - 1)
    runs = np.diff(np.append(-1, ends)).tolist()
    runs = [0, *runs] if flat[0] else runs
    shape = SubElement(image, "mask", label=title, source="auto", occluded="0")
    shape.attrib.update(
        rle=", ".join(map(str, runs)),
        left=str(cols[0]),
        top=str(rows[0]),
        width=str(window.shape[1]),
        height=str(window.shape[0]),
        z_order="0",
    )


def decode(source: Path, known: Mapping[str, int] | None) -> tuple[Legend, Iterator[Labelled]]:
    """Read the label maps of a CVAT file: masks, polygons and boxes, painted by ``z_order``.

    Args:
        source: XML file, or the folder that ``encode`` filled.
        known: name to id, or None.

    Raises:
        InputError: no such file, or none of this kind.
    """
    path = source / FILE if source.is_dir() else source
    root = _read(path)
    kept = read_sidecar(path.parent) if path.name == FILE else None
    shapes = [s for image in root.iter("image") for s in image if s.get("label")]
    if kept is not None and known is None:
        legend, ids = kept
    else:
        order = [node.findtext("name") or "" for node in root.iter("label")]
        order += [shape.get("label") or "" for shape in shapes]
        skipped = ("", IGNORED, _BACKGROUND)
        legend, ids = make_legend([n for n in order if n not in skipped], known=known)
    canvas = IGNORE if legend.background is None else legend.background
    values = {IGNORED: IGNORE, _BACKGROUND: canvas, **ids}

    def read() -> Iterator[Labelled]:
        for image in root.iter("image"):
            file = check_name(image.get("name"), str(path))
            where = f"{path}: {file}"
            hw = check_size(image.get("height"), image.get("width"), where)
            labels = np.full(hw, canvas, np.int32)
            for shape in sorted(image, key=lambda node: _number(node, "z_order", where, "0")):
                name = shape.get("label") or ""
                if shape.tag in ("mask", "polygon", "box") and name not in values:
                    raise InputError(f"{where}: class {name!r} is not in {SIDECAR}; remove that")
                if shape.tag in ("mask", "polygon", "box"):
                    _paint(labels, shape, values[name], where)
            yield Labelled(name=without_suffix(file), file=file, labels=labels)

    return legend, read()


def _read(path: Path) -> Element:
    try:
        data = path.read_bytes()
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise ValueError("a document type, which could make it grow without end")
        root = ElementTree.fromstring(data)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: expected XML of CVAT for images 1.1, got: {error}") from error
    if root.tag != "annotations" or root.find("image") is None:
        raise InputError(
            f"{path}: expected XML of CVAT for images 1.1 with <annotations> of <image>, got "
            f"<{root.tag}>; export the task or job as 'CVAT for images 1.1'"
        )
    return root


def _number(node: Element, key: str, where: str, default: str = "") -> int:
    try:
        return int(node.get(key, default))
    except ValueError as error:
        raise InputError(f"{where}: expected a whole number as {key!r}") from error


def _paint(labels: LabelMap, shape: Element, label: int, where: str) -> None:
    if shape.tag == "mask":
        height, width, top, left = (
            _number(shape, key, where) for key in ("height", "width", "top", "left")
        )
        check_size(height, width, where)
        try:
            runs = [int(run) for run in (shape.get("rle") or "").split(",")]
        except ValueError:
            runs = []
        if sum(runs) != height * width or min(runs, default=0) < 0 or min(top, left) < 0:
            raise InputError(f"{where}: expected run lengths of a mask of {height} x {width}")
        mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
        window = labels[top : top + height, left : left + width]
        window[mask[: window.shape[0], : window.shape[1]]] = label
        return
    try:
        if shape.tag == "box":
            x0, y0, x1, y1 = (float(shape.get(key, "")) for key in ("xtl", "ytl", "xbr", "ybr"))
            points = [[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]
        else:
            pairs = (shape.get("points") or "").split(";")
            points = [[float(side) - 0.5 for side in pair.split(",")] for pair in pairs]
    except ValueError as error:
        raise InputError(f"{where}: expected numbers in a {shape.tag}, got: {error}") from error
    labels[fill([check_outline(points, where)], labels.shape)] = label
