"""What is said of regions, a document a picture, and all documents as COCO JSON and as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uosam.errors import InputError
from uosam.labels import areas, components
from uosam.regions.crops import Region, region_of, whole_mask
from uosam.regions.records import encode_rle
from uosam.structures import IGNORE, Caption, LabelMap, Mask

COLUMNS = ("picture", "region", "label", "component", "caption", "score", "agreement", "area",
           "x0", "y0", "x1", "y1")  # fmt: skip
"""Of the table."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A region that gets no phrase, and why."""

    label: int
    component: int
    area: int
    reason: str


def split_regions(
    labels: LabelMap,
    picture: str,
    *,
    whole_classes: bool = False,
    min_area: float = 0.001,
    background: int | None = None,
) -> tuple[list[Region], list[Skipped]]:
    """Cut a label map into the regions that get a phrase each (captions.md, section 5).

    Args:
        labels: (H, W) ids.
        picture: name of the sample.
        whole_classes: one region for each id, not one for each of its 8-connected parts.
        min_area: smallest region, as a share of the picture.
        background: id that gets none, or None.

    Returns:
        Regions by id and falling size, and those that are too small.
    """
    least = min_area * labels.size
    found: list[Region] = []
    skipped: list[Skipped] = []
    for label in areas(labels):
        if label in (IGNORE, background):
            continue
        mask = labels == label
        parts = [mask] if whole_classes else components(mask, 1)
        for number, part in enumerate(parts):
            area = int(np.count_nonzero(part))
            if area < least:
                skipped.append(Skipped(label=label, component=number, area=area, reason="min_area"))
            else:
                found.append(region_of(part, picture, label, number))
    return found, skipped


@dataclass(frozen=True, eq=False, kw_only=True)
class Spoken:
    """A region and its phrase.

    Attributes:
        mask: (H, W).
        caption: of the model.
        prompt: how the model was asked: "box", "point" or "crop".
        label: id in the map, or None for a proposal.
        component: number of the part of its id.
        score: the segmenter's estimate of the mask's IoU, or None.
        stability: of the mask, or None.
        point: x, y that asked for the mask, or None.
        asked: x, y of a user's point, x0, y0, x1, y1 of a user's box, or None.
    """

    mask: Mask
    caption: Caption
    prompt: str
    label: int | None = None
    component: int = 0
    score: float | None = None
    stability: float | None = None
    point: tuple[float, float] | None = None
    asked: tuple[float, ...] | None = None


def encode_document(
    name: str,
    hw: tuple[int, int],
    captioner: str,
    spoken: Iterable[Spoken],
    skipped: Iterable[Skipped] = (),
) -> bytes:
    """Return the JSON of one picture; boxes have exclusive far edges.

    Args:
        name: of the sample.
        hw: size of the picture.
        captioner: name of the model.
        spoken: regions with their phrases, in order.
        skipped: regions that got none.
    """
    regions = [_entry(one) for one in spoken]
    left = [vars(one) for one in skipped]
    document = {"name": name, "size": list(hw), "captioner": captioner, "regions": regions}
    return (json.dumps({**document, "skipped": left}, indent=1) + "\n").encode()


def _entry(one: Spoken) -> dict[str, Any]:
    rows, cols = np.flatnonzero(one.mask.any(1)), np.flatnonzero(one.mask.any(0))
    x0, y0, x1, y1 = int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1
    entry: dict[str, Any] = {
        "label": one.label,
        "component": one.component,
        "box": [x0, y0, x1, y1],
        "area": int(np.count_nonzero(one.mask)),
        "caption": one.caption.text,
        "score": _number(one.caption.score),
        "agreement": _number(one.caption.agreement),
        "prompt": one.prompt,
        "segmentation": encode_rle(one.mask),
    }
    for key, value in (
        ("predicted_iou", one.score),
        ("stability_score", one.stability),
        ("point", one.point),
        ("asked", one.asked),
    ):
        if value is not None:
            entry[key] = value
    return entry


def _number(value: float) -> float | None:
    """Return a number that JSON has; it has no nan."""
    return round(value, 6) if math.isfinite(value) else None


def read_document(data: bytes, where: str) -> dict[str, Any]:
    """Read what ``encode_document`` wrote.

    Raises:
        InputError: it is no such file.
    """
    try:
        document: dict[str, Any] = json.loads(data)
        for entry in document["regions"]:
            entry["caption"], entry["box"], entry["segmentation"]
        return document
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{where}: expected the captions of a picture, got {error!r}; run uosam caption again"
        ) from error


def to_coco(documents: Sequence[Mapping[str, Any]], files: Mapping[str, str]) -> dict[str, Any]:
    """Return one COCO document: images, annotations with a caption each, categories by id.

    Args:
        documents: of all pictures.
        files: file name of each picture by sample.
    """
    annotations: list[dict[str, Any]] = []
    for number, document in enumerate(documents, start=1):
        for entry in document["regions"]:
            x0, y0, x1, y1 = entry["box"]
            annotation = {key: value for key, value in entry.items() if key != "box"}
            annotation |= {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": 0 if entry["label"] is None else entry["label"],
                "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
            }
            annotations.append(annotation)
    images = [
        {
            "id": number,
            "file_name": files.get(document["name"], document["name"]),
            "height": document["size"][0],
            "width": document["size"][1],
        }
        for number, document in enumerate(documents, start=1)
    ]
    ids = sorted({annotation["category_id"] for annotation in annotations})
    categories = [{"id": id_, "name": str(id_)} for id_ in ids]
    return {"images": images, "annotations": annotations, "categories": categories}


def to_rows(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row of ``COLUMNS`` for each region."""
    return [
        {
            "picture": document["name"],
            "region": number,
            **{key: entry[key] for key in ("label", "component", "caption", "score")},
            **{key: entry[key] for key in ("agreement", "area")},
            **dict(zip(("x0", "y0", "x1", "y1"), entry["box"], strict=True)),
        }
        for document in documents
        for number, entry in enumerate(document["regions"])
    ]


def summarise(documents: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """Return for each id the phrase that most of its regions have; of equals the best scored one.

    >>> entries = [("a dog", -1.0), ("a cat", -0.1), ("a dog", -2.0)]
    >>> regions = [{"label": 3, "caption": text, "score": score} for text, score in entries]
    >>> summarise([{"regions": regions}])
    {3: 'a dog'}
    """
    found: dict[int, dict[str, list[float]]] = {}
    for document in documents:
        for entry in document["regions"]:
            if entry["label"] is not None and entry["caption"]:
                scores = found.setdefault(entry["label"], {}).setdefault(entry["caption"], [])
                scores.append(-math.inf if entry["score"] is None else entry["score"])
    return {
        label: max(texts, key=lambda text: (len(texts[text]), max(texts[text]), text))
        for label, texts in sorted(found.items())
    }


def masks_of(regions: Sequence[Region], hw: tuple[int, int]) -> Any:
    """Return the (M, H, W) masks of regions of a picture of that size."""
    masks = [whole_mask(region, hw) for region in regions]
    return np.stack(masks) if masks else np.zeros((0, *hw), bool)
