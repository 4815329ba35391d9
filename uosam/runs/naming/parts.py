"""Which regions of a folder are looked at, and how: the options of ``uosam name``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from uosam.backends.text.models import TextOptions
from uosam.errors import ConfigError, InputError
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.pairs import Pairs, find_pictures
from uosam.io.stores.mounts import at_hand
from uosam.io.walk import list_files
from uosam.regions.crops import Region, draw_lots, find_regions, region_of
from uosam.regions.records import Record, read_ssa
from uosam.regions.views import View
from uosam.structures import Sample


@dataclass(frozen=True, kw_only=True)
class NameOptions:
    """What is looked at, and with which model.

    Attributes:
        by: "clusters" gives each id of the folder one name; "regions" each part of a map its own;
            "proposals" each record of a JSON file, as SAM's mask generator writes them.
        view: how a region is shown; "best" takes all views that the model offers.
        min_area: smallest part of an id, as a share of the picture, in [0, 1].
        per_id: parts of one id that are looked at, drawn by lot over the folder; all of them if 0
            or where each part gets a name.
        name_background: whether the background gets a name, too.
        workers: processes, each with its own model.
        overwrite: replace results of other settings.
        labels: how masks are read.
        text: the model.
    """

    by: Literal["clusters", "regions", "proposals"] = "clusters"
    view: View | Literal["best"] = "best"
    min_area: float = 0.01
    per_id: int = 200
    name_background: bool = False
    workers: int = 1
    overwrite: bool = False
    labels: LabelOptions = field(default_factory=LabelOptions)
    text: TextOptions = field(default_factory=TextOptions)

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share outside [0, 1], a count too small, or an unknown unit or view.
        """
        if not 0 <= self.min_area <= 1:
            raise ConfigError(f"name.min_area must be in [0, 1], got {self.min_area}")
        for name, least in (("per_id", 0), ("workers", 1)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"name.{name} must be at least {least}, got {getattr(self, name)}"
                )
        for name, offered in (
            ("by", ("clusters", "regions", "proposals")),
            ("view", ("best", "crop", "masked", "both", "pooled", "all")),
        ):
            if getattr(self, name) not in offered:
                raise ConfigError(
                    f"name.{name} must be one of {', '.join(offered)}, got {getattr(self, name)!r}"
                )


def read_regions(sample: Sample, options: NameOptions) -> list[Region]:
    """Read the map or the records of a sample, and return its regions.

    Raises:
        InputError: the file cannot be read.
    """
    if sample.coarse is None:
        raise InputError(f"sample {sample.name!r} must have a mask")
    if options.by == "proposals":
        found = []
        for number, record in enumerate(read_records(sample.coarse), start=1):
            mask = record.mask
            if np.count_nonzero(mask) >= max(1, options.min_area * mask.size):
                found.append(region_of(mask, sample.name, number))
        return found
    file = read_with(sample.coarse, options.labels)
    return find_regions(
        file.labels,
        sample.name,
        min_area=options.min_area,
        background=None if options.name_background else file.spec.background,
    )


def read_records(path: Path) -> list[Record]:
    """Read the records of one picture, those of an empty mask included.

    Raises:
        InputError: the file cannot be read, or its masks are of several sizes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    records, _ = read_ssa(data, str(path))
    sizes = {tuple(record.segmentation.get("size", ())) for record in records}
    if len(sizes) > 1:
        raise InputError(f"{path}: masks of one picture must have one size, got {sorted(sizes)}")
    return records


def mask_size(path: Path, options: NameOptions) -> tuple[int, int] | None:
    """Return (H, W) of what a sample's mask file holds; None where it holds no mask."""
    if options.by != "proposals":
        height, width = read_with(path, options.labels).labels.shape
        return height, width
    records = read_records(path)
    return records[0].mask.shape if records else None


def pair_records(images: Path, folder: Path) -> Pairs:
    """Pair pictures with the JSON files of records of the same relative path and name.

    Raises:
        InputError: a folder is missing or without pictures, or no file belongs to a picture.
    """
    samples, unreadable = find_pictures(images)
    ignored = ("summary.json",)
    files = {
        file.with_suffix("").as_posix(): folder / file
        for file in list_files(folder, (".json",), unreadable)
        if file.as_posix() not in ignored
    }
    paired = [
        replace(sample, coarse=files.pop(sample.name)) for sample in samples if sample.name in files
    ]
    if not paired:
        raise InputError(
            f"{folder}: expected a NAME.json of records for each picture of {images}, found none "
            f"among {len(files)} files; write them with uosam proposals {images} {folder}"
        )
    names = {sample.name for sample in paired}
    return Pairs(
        samples=paired,
        unpaired_images=[s.image for s in samples if s.image and s.name not in names],
        unpaired_masks=list(files.values()),
        unreadable=unreadable,
    )


def part_of(region: Region) -> tuple[int, int]:
    """Return id and number of a region, which tell it from the others of its picture."""
    return region.label, region.component


def draw_parts(
    samples: Sequence[Sample], options: NameOptions
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Draw the parts that are looked at over the whole folder."""
    found: list[Region] = []
    lots: dict[str, list[tuple[int, int]]] = {}
    for sample in samples:
        try:
            with at_hand(*([sample.coarse] if sample.coarse else [])):
                regions = read_regions(sample, options)
        except (InputError, OSError):  # recorded when its turn comes
            continue
        lots[sample.name] = []
        # The masks of the regions would fill the memory; who is drawn does not depend on them.
        found += [replace(region, mask=np.zeros((0, 0), bool)) for region in regions]
    for region in draw_lots(found, options.per_id):
        lots[region.picture].append(part_of(region))
    return {name: tuple(parts) for name, parts in lots.items()}
