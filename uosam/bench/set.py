"""A set of a benchmark: where pictures, truth and coarse masks lie, and what their ids mean."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from uosam.config import examples_folder
from uosam.errors import ConfigError, unknown
from uosam.io.codecs import LabelOptions
from uosam.metrics.protocols import Matching


@dataclass(frozen=True, kw_only=True)
class BenchSet:
    """Pictures with ground truth, and the coarse masks that every method starts from.

    Attributes:
        name: for tables.
        images: folder of the pictures.
        gt: folder of the ground truth.
        coarse: folder of the coarse masks; None if they are made by k-means.
        depth: folder of depth files of the same names, for methods that take a guide, or None.
        clusters: settings of k-means (``baselines.kmeans``, or ``baselines.clusters`` with the key
            "model" of that name), if it makes the coarse masks.
        background: id of the ground truth that is no object, or None.
        coarse_background: id of the coarse masks that is no object, or None.
        ignore: stored value of the ground truth that is not scored; "default" for the codec's own.
        matching: how ids of the coarse masks are given classes, over the whole set.
        instances: ids number the objects of a picture, so that scores by class mean nothing.
    """

    name: str
    images: Path
    gt: Path
    coarse: Path | None
    depth: Path | None = None
    clusters: Mapping[str, Any] | None = None
    background: int | None = 0
    coarse_background: int | None = 0
    ignore: int | Literal["default", "none"] = "default"
    matching: Matching = "none"
    instances: bool = False


EXAMPLES = "UOSAM_EXAMPLES"
"""The variable that stands for the packaged examples unless it is set."""

_SET_KEYS = (
    "images",
    "gt",
    "coarse",
    "depth",
    "background",
    "coarse_background",
    "ignore",
    "matching",
    "instances",
    "optional",
)


def read_set(name: str, entry: Any, folder: Path) -> BenchSet:
    """Read a set as a plan declares it.

    Args:
        name: of the set.
        entry: what stands under the name.
        folder: that relative paths belong to.

    Raises:
        ConfigError: a key is missing or unknown, a value is out of range, or a variable of the
            environment is not set.
    """
    if not isinstance(entry, dict) or not all(key in entry for key in ("images", "gt", "coarse")):
        raise ConfigError(
            f"sets.{name} must be a mapping with 'images', 'gt' and 'coarse', got {entry!r}"
        )
    for key in entry:
        if key not in _SET_KEYS:
            raise unknown(f"key in sets.{name}", str(key), _SET_KEYS)
    clusters = entry["coarse"] if isinstance(entry["coarse"], dict) else None
    background = _no_text(entry.get("background", 0))
    matching = entry.get("matching", "none" if clusters is None else "pixels")
    if matching not in get_args(Matching):
        raise unknown("matching", str(matching), get_args(Matching))
    paths = {
        key: _place(entry[key], f"sets.{name}.{key}", folder)
        for key in ("images", "gt", "coarse", "depth")
        if key in entry and not (key == "coarse" and clusters is not None)
    }
    # Clusters have no background that a refiner could know of.
    coarse_background = _no_text(
        entry.get("coarse_background", background if matching == "none" else None)
    )
    for chosen in (background, coarse_background):
        if chosen is not None and (type(chosen) is not int or chosen < 0):
            raise ConfigError(
                f"sets.{name}: a background must be an id of 0 or more, or null, got {chosen!r}"
            )
    # Checked as labels.ignore is everywhere else.
    ignore = LabelOptions(ignore=entry.get("ignore", "default")).ignore
    return BenchSet(
        name=name,
        images=paths["images"],
        gt=paths["gt"],
        coarse=paths.get("coarse"),
        depth=paths.get("depth"),
        clusters=clusters,
        background=background,
        coarse_background=coarse_background,
        ignore=ignore,
        matching=matching,
        instances=bool(entry.get("instances", False)),
    )


def _no_text(background: Any) -> Any:
    """Take "none", as the command line has it, for null."""
    return None if background == "none" else background


def _place(text: Any, where: str, folder: Path) -> Path:
    """Fill in ``${NAME}`` from the environment; relative paths are those of the YAML file."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name == EXAMPLES and name not in os.environ:
            return str(examples_folder())
        if name not in os.environ:
            raise ConfigError(
                f"{where} needs the environment variable {name}, which is not set; "
                f"set it to the folder of the data, or write the path into the file"
            )
        return os.environ[name]

    return folder / re.sub(r"\$\{(\w+)\}", value, str(text))
