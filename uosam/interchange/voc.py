"""PASCAL VOC: palette masks of classes and of pieces, boxes in XML, and a list of the pictures.

Source: the development kit of VOC 2012. A mask holds ids to 254, 255 is ignored; other ids are
numbered anew, as ``labelmap.txt`` tells (the form in which CVAT and Datumaro keep it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.interchange.legend import Files, Labelled, Legend, make_legend, read_sidecar
from uosam.interchange.pixels import encode_ids, read_ids, voc_palette
from uosam.structures import IGNORE

_UNKNOWN = 255


def encode(pictures: Iterable[Labelled], legend: Legend) -> Files:
    """Return masks, boxes and lists.

    Raises:
        InputError: there are more classes than 8 bits hold.
    """
    titles, numbers = legend.titles, number_ids(legend)
    palette = voc_palette()
    lines = ["# label:color_rgb:parts:actions\n"]
    shown = {0: "background"} if legend.background is not None else {}
    shown |= {numbers[i]: titles[i].replace(":", "_") for i in legend.ids}
    for number, title in sorted(shown.items()):
        red, green, blue = palette[3 * number : 3 * number + 3]
        lines.append(f"{title}:{red},{green},{blue}::\n")
    yield PurePosixPath("labelmap.txt"), "".join(lines).encode()
    names = []
    for picture in pictures:
        names.append(picture.name)
        classes = np.zeros(picture.labels.shape, np.uint8)
        pieces = np.zeros(picture.labels.shape, np.uint8)
        found: list[tuple[str, tuple[int, int, int, int]]] = []
        for label in np.unique(picture.labels).tolist():
            mask = picture.labels == label
            if label == IGNORE:
                classes[mask] = pieces[mask] = _UNKNOWN
                continue
            classes[mask] = numbers[label]
            if label == legend.background:
                continue
            count, index, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
            for piece in range(1, count):
                x, y, width, height = stats[piece, :4].tolist()
                found.append((titles[label], (x, y, x + width - 1, y + height - 1)))
                # The file holds 254 pieces; what is more has its box in the XML alone.
                pieces[index == piece] = min(len(found), 254)
        place = f"{picture.name}.png"
        yield PurePosixPath("SegmentationClass", place), encode_ids(classes, palette)
        yield PurePosixPath("SegmentationObject", place), encode_ids(pieces, palette)
        yield PurePosixPath("Annotations", f"{picture.name}.xml"), _boxes(picture, found)
    listed = "".join(name + "\n" for name in names).encode()
    yield PurePosixPath("ImageSets", "Segmentation", "default.txt"), listed


def number_ids(legend: Legend) -> dict[int, int]:
    """Return what each id is stored as: itself where all fit, else its place from 1 on.

    Raises:
        InputError: there are more than 254 classes, or 255 without a background.
    """
    if all(0 < i < _UNKNOWN for i in legend.ids) and legend.background in (0, None):
        numbers = {i: i for i in legend.ids}
    else:
        numbers = {i: n for n, i in enumerate(legend.ids, start=int(legend.background is not None))}
    if max(numbers.values(), default=0) >= _UNKNOWN:
        raise InputError(
            f"VOC masks hold 254 classes at most, got {len(numbers)}; export to coco or mask2former"
        )
    return numbers if legend.background is None else {**numbers, legend.background: 0}


def _boxes(picture: Labelled, found: Iterable[tuple[str, tuple[int, int, int, int]]]) -> bytes:
    height, width = picture.labels.shape
    root = Element("annotation")
    SubElement(root, "filename").text = picture.file
    size = SubElement(root, "size")
    for key, value in (("width", width), ("height", height), ("depth", 3)):
        SubElement(size, key).text = str(value)
    SubElement(root, "segmented").text = "1"
    for title, box in found:
        node = SubElement(root, "object")
        SubElement(node, "name").text = title
        bounds = SubElement(node, "bndbox")
        for key, side in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            SubElement(bounds, key).text = str(side + 1)  # VOC counts pixels from 1 on
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, "utf-8"))


def decode(source: Path, known: Mapping[str, int] | None) -> tuple[Legend, Iterator[Labelled]]:
    """Read the label maps of a folder with ``SegmentationClass``.

    Without ``uosam.json`` ids are those of the masks, or the order of ``labelmap.txt``.

    Args:
        source: the folder.
        known: name to id, or None.

    Raises:
        InputError: no such folder, or a file in it is none of VOC.
    """
    folder = source / "SegmentationClass"
    files = sorted(folder.rglob("*.png"))
    if not files:
        raise InputError(f"{source}: expected masks in {folder}, found none")
    kept = read_sidecar(source)
    if kept is not None and known is None:
        legend = kept[0]
        values = {number: label for label, number in number_ids(legend).items()}
    else:
        numbered = _labelmap(source / "labelmap.txt")
        legend, ids = make_legend(numbered.values(), known=known)
        values = {0: 0, **{number: ids[name] for number, name in numbered.items()}}
        if not numbered:
            values = {number: number for number in range(_UNKNOWN)}

    def read() -> Iterator[Labelled]:
        for path in files:
            name = path.relative_to(folder).with_suffix("").as_posix()
            file = f"{name}.jpg"
            noted = source / "Annotations" / f"{name}.xml"
            if noted.is_file():
                file = _filename(noted) or file
            yield Labelled(name=name, file=file, labels=to_labels(read_ids(path), values, path))

    return legend, read()


def to_labels(ids: NDArray[np.int64], values: Mapping[int, int], path: Path) -> NDArray[np.int32]:
    """Return stored numbers as ids; 255 is ignored.

    Raises:
        InputError: a number has no class.
    """
    present, index = np.unique(ids, return_inverse=True)
    table = []
    for number in present.tolist():
        if number != _UNKNOWN and number not in values:
            raise InputError(f"{path}: holds {number}, which labelmap.txt has no line for")
        table.append(IGNORE if number == _UNKNOWN else values[number])
    return np.array(table, np.int32)[index.reshape(ids.shape)]


def _labelmap(path: Path) -> dict[int, str]:
    if not path.is_file():
        return {}
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3).tolist()
    found = {}
    for line in path.read_text("utf-8", errors="replace").splitlines():
        name, *rest = line.split(":")
        if not name.strip() or name.startswith("#") or name == "background":
            continue
        try:
            found[colours.index([int(side) for side in rest[0].split(",")])] = name
        except (ValueError, IndexError) as error:
            raise InputError(
                f"{path}: expected 'name:r,g,b::' with a colour of VOC's palette, got {line!r}"
            ) from error
    return found


def _filename(path: Path) -> str | None:
    try:
        return ElementTree.fromstring(path.read_bytes()).findtext("filename")
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: expected XML of VOC, got: {error}") from error
