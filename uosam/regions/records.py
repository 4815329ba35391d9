"""Records of regions, and the JSON that label tools, SAM and SSA exchange them in.

A mask is stored as COCO's run lengths (``pycocotools``). The record is that of SAM's mask
generator (Kirillov et al., "Segment Anything", 2023) with the keys that Semantic-Segment-Anything
(Chen, Yang and Zhang, 2023) adds: ``class_name`` and ``class_proposals``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco

from uosam.errors import InputError
from uosam.labels import box as box_of
from uosam.structures import IGNORE, LabelMap, Mask

Rle = Mapping[str, Any]
"""COCO run lengths of a mask: ``size`` [H, W] and ``counts``, compressed to text or a list."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Record:
    """One region of one picture, and what is said about it; None where nothing is.

    Attributes:
        segmentation: the mask.
        area: pixels of the mask.
        box: x0, y0, x1, y1 in pixels, inclusive; all 0 for an empty mask, as in SAM's files.
        label: id of the region in its label map.
        class_name: the name that won.
        class_proposals: the best names, best first.
        class_scores: of ``class_proposals``, in [0, 1].
        source: where the name comes from: "vocabulary", "closed-set" or "caption".
        caption: a phrase.
        predicted_iou: the segmenter's estimate, in [0, 1].
        stability_score: SAM's, in [0, 1].
        point_coords: x, y of the points that asked for the mask.
        crop_box: x, y, width, height of the part of the picture it was found in.
        level: of granularity, 1 whole to 6 smallest part.
    """

    segmentation: Rle
    area: int
    box: tuple[int, int, int, int]
    label: int | None = None
    class_name: str | None = None
    class_proposals: tuple[str, ...] = ()
    class_scores: tuple[float, ...] = ()
    source: str | None = None
    caption: str | None = None
    predicted_iou: float | None = None
    stability_score: float | None = None
    point_coords: tuple[tuple[float, float], ...] | None = None
    crop_box: tuple[int, int, int, int] | None = None
    level: int | None = None

    @property
    def mask(self) -> Mask:
        """Decode the (H, W) mask."""
        return decode_rle(self.segmentation)


def encode_rle(mask: Mask) -> dict[str, Any]:
    """Return compressed run lengths of an (H, W) mask, fit for JSON.

    >>> encode_rle(np.array([[0, 1], [0, 1]], bool))
    {'size': [2, 2], 'counts': '22'}
    """
    found = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode()}


def decode_rle(rle: Rle) -> Mask:
    """Return the (H, W) mask of run lengths, compressed or as a list of numbers.

    Raises:
        InputError: they are not run lengths of a mask of their size.

    >>> decode_rle({"size": [2, 2], "counts": [1, 3]}).astype(int).tolist()
    [[0, 1], [1, 1]]
    """
    try:
        height, width = (int(side) for side in rle["size"])
        counts = rle["counts"]
        # The library reads past the end of wrong counts, so their sum is checked first.
        if not isinstance(counts, list | str):
            raise TypeError(f"counts of type {type(counts).__name__}")
        runs = counts if isinstance(counts, list) else _runs(counts)
        if sum(runs) != height * width or min(runs, default=0) < 0:
            raise ValueError(f"runs of {sum(runs)} pixels for {height} x {width}")
        flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"a mask must be COCO run lengths with 'size' [H, W] and 'counts', got {error!r}"
        ) from error
    return flat.reshape((height, width), order="F")


def _runs(text: str) -> list[int]:
    """Read COCO's compressed counts: 5 bits a character, from the third run on as differences.

    >>> _runs("22")
    [2, 2]
    """
    runs: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {chr(character)!r} in the counts")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value |= -1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("counts that break off")
    return runs


def describe(mask: Mask, **said: Any) -> Record:
    """Make the record of a mask, with what is ``said`` about it by field.

    >>> describe(np.array([[0, 0, 0], [0, 1, 1]], bool), class_name="dog").box
    (1, 1, 2, 1)
    """
    area = int(np.count_nonzero(mask))
    x0, y0, x1, y1 = (int(side) for side in box_of(mask)) if area else (0, 0, 0, 0)
    return Record(segmentation=encode_rle(mask), area=area, box=(x0, y0, x1, y1), **said)


def write_ssa(
    records: Iterable[Record], labels: LabelMap | None = None, ids: Sequence[int] | None = None
) -> bytes:
    """Return the JSON of one picture as SSA writes it: ``annotations``, maybe ``semantic_mask``.

    ``class_proposals`` is always a list, best first; ``class_scores``, ``source``, ``label`` and
    ``caption`` are added where they are known. ``bbox`` is SAM's: x, y, and last minus first pixel.

    Args:
        records: of one picture.
        labels: (H, W) map to store under ``semantic_mask``, or None.
        ids: of the map's classes, also those without a pixel; None for those that occur.
    """
    document: dict[str, Any] = {"annotations": [_annotation(record) for record in records]}
    if labels is not None:
        present = np.unique(labels[labels != IGNORE]).tolist() if ids is None else ids
        document["semantic_mask"] = {str(id_): encode_rle(labels == id_) for id_ in present}
    return json.dumps(document).encode()


def _annotation(record: Record) -> dict[str, Any]:
    x0, y0, x1, y1 = record.box
    found: dict[str, Any] = {
        "segmentation": dict(record.segmentation),
        "area": record.area,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
    }
    for key in ("predicted_iou", "point_coords", "stability_score", "crop_box", "class_name"):
        if getattr(record, key) is not None:
            found[key] = getattr(record, key)
    if record.class_name is not None:
        found["class_proposals"] = list(record.class_proposals) or [record.class_name]
    if record.class_scores:
        found["class_scores"] = list(record.class_scores)
    for key in ("source", "label", "caption", "level"):
        if getattr(record, key) is not None:
            found[key] = getattr(record, key)
    return found


def read_ssa(data: bytes, where: str) -> tuple[list[Record], LabelMap | None]:
    """Read the JSON of one picture: SSA's, or SAM's without names (the layout of SA-1B).

    Args:
        data: of the file; a bare list of annotations is taken, too.
        where: name of the file, for messages.

    Returns:
        records in order, and the (H, W) map where there is one, IGNORE where no class has a pixel.

    Raises:
        InputError: it is no such file.
    """
    try:
        document = json.loads(data)
        if isinstance(document, list):
            document = {"annotations": document}
        records = [_record(item) for item in document["annotations"]]
        layers = {
            int(id_): decode_rle(rle) for id_, rle in document.get("semantic_mask", {}).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where}: expected JSON with 'annotations' as SAM and SSA write them, got {error!r}"
        ) from error
    if not layers:
        return records, None
    labels = np.full(next(iter(layers.values())).shape, IGNORE, np.int32)
    for id_, mask in layers.items():
        if mask.shape != labels.shape:
            raise InputError(
                f"{where}: masks of one picture must have one size, got {mask.shape} for id {id_} "
                f"beside {labels.shape}"
            )
        labels[mask] = id_
    return records, labels


def _record(item: Mapping[str, Any]) -> Record:
    proposals = item.get("class_proposals", ())
    x, y, width, height = (int(side) for side in item["bbox"])
    points = item.get("point_coords")
    crop = item.get("crop_box")
    return Record(
        segmentation=dict(item["segmentation"]),
        area=int(item["area"]),
        box=(x, y, x + width, y + height),
        label=item.get("label"),
        class_name=item.get("class_name"),
        # A text where only one name was asked about: files of the closed set.
        class_proposals=(proposals,) if isinstance(proposals, str) else tuple(proposals),
        class_scores=tuple(item.get("class_scores", ())),
        source=item.get("source"),
        caption=item.get("caption"),
        predicted_iou=item.get("predicted_iou"),
        stability_score=item.get("stability_score"),
        point_coords=None if points is None else tuple((px, py) for px, py in points),
        crop_box=None if crop is None else (crop[0], crop[1], crop[2], crop[3]),
        level=item.get("level"),
    )


def coco_document(
    pictures: Mapping[str, Sequence[Record]],
    sizes: Mapping[str, tuple[int, int]],
    categories: Mapping[int, str],
) -> dict[str, Any]:
    """Return one COCO data set of the records of many pictures, ready for ``json``.

    Args:
        pictures: file name to records; a record's ``label`` is its category.
        sizes: file name to (H, W).
        categories: id to name.

    Returns:
        ``images``, ``categories`` and ``annotations``; ``bbox`` is COCO's x, y, width, height
        in pixels, and the score of the best name is ``score``.
    """
    annotations: list[dict[str, Any]] = []
    for image_id, records in enumerate(pictures.values(), start=1):
        for record in records:
            x0, y0, x1, y1 = record.box
            found = _annotation(record)
            found |= {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": record.label,
                "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
            }
            if record.class_scores:
                found["score"] = record.class_scores[0]
            annotations.append(found)
    return {
        "images": [
            {"id": number, "file_name": name, "height": sizes[name][0], "width": sizes[name][1]}
            for number, name in enumerate(pictures, start=1)
        ],
        "categories": [{"id": id_, "name": name} for id_, name in categories.items()],
        "annotations": annotations,
    }
