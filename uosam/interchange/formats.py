"""The one table of formats: what ``uosam export --to`` and ``--from`` know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from uosam.errors import unknown
from uosam.interchange import (
    coco,
    cvat,
    labelme,
    labelstudio,
    mask2former,
    voc,
    yolo,
)
from uosam.interchange.legend import Files, Labelled, Legend

TOLERANCE = 1.0
"""Pixels by which the polygons of formats that have nothing else may be off unless told."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format.

    Attributes:
        title: what it is, for listings.
        encode: label maps and legend to files.
        decode: folder or file and, maybe, ids by name to legend and label maps.
        pictures: folder of the export that holds the pictures, "" for the export itself, None if
            the format only names them.
        polygons: whether outlines are made simpler by the tolerance; others are exact.
        keeps_ignore: whether ignored pixels survive.
    """

    title: str
    encode: Callable[[Iterable[Labelled], Legend, float], Files]
    decode: Callable[[Path, Mapping[str, int] | None], tuple[Legend, Iterator[Labelled]]]
    pictures: str | None = None
    polygons: bool = False
    keeps_ignore: bool = True


def _exact(
    encode: Callable[[Iterable[Labelled], Legend], Files],
) -> Callable[[Iterable[Labelled], Legend, float], Files]:
    """Take a tolerance that an exact format has no use for."""
    return lambda pictures, legend, tolerance: encode(pictures, legend)


FORMATS = {
    "coco": Format(
        title="COCO JSON of run lengths", encode=_exact(coco.encode), decode=coco.decode
    ),
    "labelme": Format(
        title="LabelMe, a JSON of polygons beside each picture",
        encode=labelme.encode,
        decode=labelme.decode,
        pictures="",
        polygons=True,
    ),
    "labelstudio": Format(
        title="Label Studio, a JSON of brush masks",
        encode=_exact(labelstudio.encode),
        decode=labelstudio.decode,
    ),
    "cvat": Format(
        title="CVAT for images 1.1, XML of masks, of polygons with a tolerance",
        encode=cvat.encode,
        decode=cvat.decode,
    ),
    "yolo": Format(
        title="YOLO segmentation, a text file of polygons for each picture",
        encode=yolo.encode,
        decode=yolo.decode,
        pictures="images",
        polygons=True,
        keeps_ignore=False,
    ),
    "voc": Format(
        title="PASCAL VOC, palette masks and boxes",
        encode=_exact(voc.encode),
        decode=voc.decode,
        pictures="JPEGImages",
    ),
    "mask2former": Format(
        title="semantic masks for Mask2Former and detectron2",
        encode=_exact(mask2former.encode),
        decode=mask2former.decode,
        pictures="images",
    ),
    "supervision": Format(
        title="a DetectionDataset of supervision: COCO JSON beside a folder of pictures",
        encode=_exact(coco.encode),
        decode=coco.decode,
        pictures="images",
    ),
}


def find_format(name: str) -> Format:
    """Return a format by name.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in FORMATS:
        raise unknown("format", name, FORMATS)
    return FORMATS[name]
