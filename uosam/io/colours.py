"""Colour-coded label maps: which colour stands for which id, built in or from a table of the user.

The colours of VOC, Cityscapes (label ids), ADE20K (150 classes) and CamVid (32 classes) are those
that the sets are published with. Two of them give one colour to two classes, of which the first is
read: Cityscapes' pole and polegroup, ADE20K's road and skyscraper.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.structures import IGNORE, LabelMap

BUILT_IN = ("voc", "cityscapes", "ade20k", "camvid")
_COLUMNS = ("id", "red", "green", "blue")


@dataclass(frozen=True, eq=False, kw_only=True)
class ColourTable:
    """Colours and the ids that they stand for.

    Attributes:
        title: the built-in name or the file, for messages.
        colours: id, or IGNORE, to (red, green, blue).
        names: id to class name, where the table has names.
    """

    title: str
    colours: Mapping[int, tuple[int, int, int]]
    names: Mapping[int, str]

    def to_ids(self, path: str, colours: NDArray[np.uint8]) -> LabelMap:
        """Look up every pixel of a colour-coded map.

        Args:
            path: what messages call the map.
            colours: (H, W, 3) RGB.

        Returns:
            (H, W) ids, IGNORE where the table says so.

        Raises:
            InputError: a colour is not in the table.
        """
        packed = _pack(colours)
        known = np.array([_pack(np.array(c, np.uint8)) for c in self.colours.values()], np.int64)
        ids = np.array(list(self.colours), np.int32)
        order = np.argsort(known)
        place = np.searchsorted(known[order], packed).clip(max=len(known) - 1)
        found = known[order][place] == packed
        if not found.all():
            red, green, blue = colours[~found][0].tolist()
            raise InputError(
                f"{path}: colour ({red}, {green}, {blue}) is not in the colour table {self.title}, "
                f"of {np.count_nonzero(~found)} pixels; take the table of this data set, or add "
                "the colour to a table of yours (anti-aliased or JPEG colours cannot be read)"
            )
        return np.asarray(ids[order][place], np.int32)

    def to_colours(self, labels: LabelMap) -> NDArray[np.uint8]:
        """Paint ids in their colours, the inverse of ``to_ids``.

        Raises:
            InputError: an id, or IGNORE, has no colour.
        """
        result = np.zeros((*labels.shape, 3), np.uint8)
        for label in np.unique(labels).tolist():
            if label not in self.colours:
                what = "ignored pixels have" if label == IGNORE else f"id {label} has"
                raise InputError(f"{what} no colour in the colour table {self.title}; add a line")
            result[labels == label] = self.colours[label]
        return result


@lru_cache(maxsize=8)
def read_colours(name: str) -> ColourTable:
    """Read a colour table.

    Args:
        name: of ``BUILT_IN``, or a CSV file with the columns id, red, green, blue and, if there
            are any, name; "ignore" in place of an id for what is not labelled.

    Raises:
        InputError: no such table, or a line that is none.
    """
    if name in BUILT_IN:
        text = resources.files("uosam.io").joinpath("colours.csv").read_text("utf-8")
    else:
        text = _read(Path(name))
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = [column.strip() for column in reader.fieldnames or ()]
    if not set(_COLUMNS) <= set(columns):
        raise InputError(
            f"{name}: a colour table must begin with the line id,red,green,blue,name, got "
            f"{','.join(columns)!r}; the built-in tables are {', '.join(BUILT_IN)}"
        )
    reader.fieldnames = columns
    colours: dict[int, tuple[int, int, int]] = {}
    names: dict[int, str] = {}
    for number, line in enumerate(reader, start=2):
        if name in BUILT_IN and line["table"] != name:
            continue
        label, colour = _parse(name, number, line)
        if label in colours or colour in colours.values():
            raise InputError(
                f"{name}, line {number}: every id and every colour may stand there once, got "
                f"{line['id']}: {colour} again"
            )
        colours[label] = colour
        if line.get("name"):
            names[label] = line["name"].strip()
    if not colours:
        raise InputError(f"{name}: a colour table needs at least one line id,red,green,blue")
    return ColourTable(title=name, colours=colours, names=names)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a colour table must be UTF-8 text; save it as CSV") from error
    except OSError as error:
        raise InputError(
            f"{path}: expected a colour table, {error.strerror or error}; give a CSV file or one "
            f"of {', '.join(BUILT_IN)}"
        ) from error


def _parse(name: str, number: int, line: Mapping[str, str]) -> tuple[int, tuple[int, int, int]]:
    label = (line["id"] or "").strip()
    try:
        red, green, blue = (int(line[column] or "") for column in _COLUMNS[1:])
        number_ = IGNORE if label == "ignore" else int(label)
    except ValueError:
        red, green, blue, number_ = -1, -1, -1, -1
    if not all(0 <= part <= 255 for part in (red, green, blue)) or (
        number_ < 0 and label != "ignore"
    ):
        raise InputError(
            f"{name}, line {number}: expected an id (or ignore) and red, green, blue of 0 to 255, "
            f"got {','.join(str(line[column]) for column in _COLUMNS)!r}"
        )
    return number_, (red, green, blue)


def _pack(colours: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.asarray(colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1]), np.int64)
