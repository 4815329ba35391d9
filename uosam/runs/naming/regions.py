"""What is said of each region: decided by a text segmenter if asked for, and written."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from uosam.errors import InputError
from uosam.io.images import fetch_image
from uosam.io.stores.mounts import at_hand, put
from uosam.regions.crops import Region, cut, pad_square, ssa_box, whole_mask
from uosam.regions.naming import Name, decide
from uosam.regions.records import Record, coco_document, decode_rle, write_ssa
from uosam.runs.naming.parts import NameOptions, read_records
from uosam.structures import Sample, TextSegmenter

DECIDED_BETWEEN = 3
"""Names of a region that a text segmenter decides between."""

_SCALE = 1.6


@dataclass(frozen=True, eq=False, kw_only=True)
class Looked:
    """One region as the vote sees it.

    Attributes:
        picture: name of the sample.
        label: id in the map.
        facts: as the task wrote them: component, box, share, segmentation.
        size: (H, W) of the picture.
    """

    picture: str
    label: int
    facts: Mapping[str, Any]
    size: tuple[int, int]


def region_of(looked: Looked) -> Region:
    """Return the region with its mask."""
    x0, y0, x1, y1 = looked.facts["box"]
    mask = decode_rle(looked.facts["segmentation"])[y0 : y1 + 1, x0 : x1 + 1]
    return replace(without_mask(looked), mask=mask)


def without_mask(looked: Looked) -> Region:
    """Return the region without its mask."""
    return Region(
        picture=looked.picture,
        label=looked.label,
        component=looked.facts["component"],
        box=looked.facts["box"],
        mask=np.zeros((0, 0), bool),
        share=looked.facts["share"],
    )


def decide_regions(
    segmenter: TextSegmenter,
    regions: Sequence[Looked],
    names: Sequence[Name],
    samples: Sequence[Sample],
) -> list[Name]:
    """Let a text segmenter decide between the best names of each region, where it is sure.

    SSA-engine's last step (Chen, Yang and Zhang, 2023), on a crop of 1.6 times the box padded to a
    square; a segmenter that encodes whole pictures is asked once for each picture.

    Args:
        segmenter: that is asked.
        regions: of all pictures.
        names: of the regions.
        samples: with the pictures.

    Raises:
        InputError: a picture cannot be read any more.
    """
    decided = list(names)
    paths = {sample.name: sample.image for sample in samples}
    by_picture: dict[str, list[int]] = defaultdict(list)
    for index, looked in enumerate(regions):
        if len(names[index].best) > 1:
            by_picture[looked.picture].append(index)
    for picture, indices in by_picture.items():
        path = paths[picture]
        if path is None:
            raise InputError(f"sample {picture!r} must have a picture")
        image = fetch_image(path)
        hw = (image.shape[0], image.shape[1])
        words = {index: _best(names[index]) for index in indices}
        whole: dict[str, Any] = {}
        if getattr(segmenter, "whole_pictures", False):
            every = list(dict.fromkeys(word for some in words.values() for word in some))
            whole = dict(zip(every, segmenter.segment(image, every), strict=True))
        for index in indices:
            region = region_of(regions[index])
            mask = whole_mask(region, hw)
            if whole:
                logits = np.stack([whole[word] for word in words[index]])
            else:
                box = ssa_box(region.box, _SCALE, hw)
                crop = cut(image, box)
                logits = segmenter.segment(pad_square(crop, (127, 127, 127)), words[index])
                top, left = ((max(crop.shape[:2]) - side) // 2 for side in crop.shape[:2])
                logits = logits[:, top : top + crop.shape[0], left : left + crop.shape[1]]
                mask = cut(mask, box)
            decided[index] = decide(names[index], logits, mask)
    return decided


def _best(name: Name) -> list[str]:
    return [text for text, _ in name.best[:DECIDED_BETWEEN]]


def write_regions(
    out: Path,
    samples: Sequence[Sample],
    regions: Sequence[Looked],
    own: Sequence[Name],
    names: Sequence[str],
    options: NameOptions,
    style: Literal["coco", "ssa"],
) -> None:
    """Write what regions are called: one COCO data set, or an SSA file a picture.

    Args:
        out: folder of the run.
        samples: with the pictures, and with the records of proposals.
        regions: of all pictures.
        own: name of each region.
        names: categories, from 1 on; 0 is "unknown".
        options: of the run.
        style: which files.

    Raises:
        InputError: a file cannot be written.
    """
    records: dict[str, list[Record]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    ids = {name: number for number, name in enumerate(names, start=1)}
    samples_by_name = {sample.name: sample for sample in samples}
    for region, name in zip(regions, own, strict=True):
        x0, y0, x1, y1 = region.facts["box"]
        area = round(region.facts["share"] * region.size[0] * region.size[1])
        # A category for data sets, the id of the map for SSA.
        label = ids.get(name.text, 0) if style == "coco" else region.label
        sizes[region.picture] = region.size
        given = _given(region, samples_by_name, options)
        base = given or Record(
            segmentation=region.facts["segmentation"], area=area, box=(x0, y0, x1, y1)
        )
        records.setdefault(region.picture, []).append(
            replace(
                base,
                label=label,
                class_name=name.text,
                class_proposals=tuple(text for text, _ in name.best),
                class_scores=tuple(score for _, score in name.best),
                source="vocabulary",
            )
        )
    if style == "ssa":
        for picture, found in records.items():
            write_file(out / "ssa" / f"{picture}_semantic.json", write_ssa(found))
        return
    files = {s.name: s.image.name if s.image else s.name for s in samples}
    categories = {0: "unknown", **{number: name for name, number in ids.items()}}
    named = {str(Path(name).parent / files[name]): found for name, found in records.items()}
    by_file = {str(Path(name).parent / files[name]): size for name, size in sizes.items()}
    document = coco_document(named, by_file, categories)
    write_file(out / "names.json", json.dumps(document).encode())


def _given(region: Looked, samples: Mapping[str, Sample], options: NameOptions) -> Record | None:
    """Return the record that a proposal came from, with all that its file says of it."""
    path = samples[region.picture].coarse
    if options.by != "proposals" or path is None:
        return None
    with at_hand(path):
        return read_records(path)[region.label - 1]


def write_file(path: Path, data: bytes) -> None:
    """Write a file where it belongs.

    Raises:
        InputError: it cannot be written.
    """
    try:
        put(path, data)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written ({error.strerror})") from error
