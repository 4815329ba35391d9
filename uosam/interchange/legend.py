"""What every format is given: label maps one at a time, and what their ids are called."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from uosam.errors import InputError, reason_of
from uosam.structures import LabelMap

SIDECAR = "uosam.json"
"""File beside an export that keeps what the format itself cannot: ids, background, names."""

IGNORED = "ignore"
"""What pixels nobody vouches for are called where a format has no word for them."""

MOST_PIXELS = 100_000_000
"""Of one picture of a file: what foreign files may make us allocate."""

Files = Iterator[tuple[PurePosixPath, bytes]]
"""Relative path and bytes of what a format writes, one after the other."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Labelled:
    """The label map of one picture.

    Attributes:
        name: relative path without suffix.
        file: relative path of the picture, with its suffix.
        labels: (H, W) ids, IGNORE where unknown.
    """

    name: str
    file: str
    labels: LabelMap


@dataclass(frozen=True, eq=False, kw_only=True)
class Legend:
    """What the ids of many label maps mean.

    Attributes:
        ids: every id that occurs or has a name, rising, without that of the background.
        names: id to class name, of those that have one.
        background: id that is no object, or None where every id is a class.
    """

    ids: tuple[int, ...]
    names: Mapping[int, str] = field(default_factory=dict)
    background: int | None = 0

    @property
    def titles(self) -> dict[int, str]:
        """Return a name of its own for each id: its number without a name, both if names repeat.

        >>> Legend(ids=(1, 2, 3, 4), names={1: "crane", 2: "crane", 3: "cat"}).titles
        {1: 'crane (1)', 2: 'crane (2)', 3: 'cat', 4: '4'}
        """
        names = {i: self.names.get(i) or str(i) for i in self.ids}
        seen = [*names.values(), IGNORED, "background"]
        return {i: f"{n} ({i})" if seen.count(n) > 1 else n for i, n in names.items()}


def make_legend(
    names: Iterable[str], *, background: int | None = 0, known: Mapping[str, int] | None = None
) -> tuple[Legend, dict[str, int]]:
    """Number the class names of a foreign file.

    Names that are all whole numbers are ids as they stand; others count in their order, from 1 on,
    or from 0 where there is no background.

    Args:
        names: in the order of the file; repeated ones count once.
        background: id that is no object, or None.
        known: name to id, where the user has said so; other names are refused.

    Returns:
        The legend, and the id of each name.

    Raises:
        InputError: a name is not among the known ones, or a number is too large for an id.

    >>> make_legend(["cat", "dog"])[1], make_legend(["7", "300"])[1]
    ({'cat': 1, 'dog': 2}, {'7': 7, '300': 300})
    """
    order = list(dict.fromkeys(names))
    if known is not None:
        missing = [name for name in order if name not in known]
        if missing:
            raise InputError(
                f"class {missing[0]!r} of the file has no line in the list of class names; add it"
            )
        ids = {name: known[name] for name in order}
    elif order and all(name.isascii() and name.isdigit() for name in order):
        ids = {name: int(name) for name in order}
        if max(ids.values()) >= 1 << 31:
            raise InputError(f"ids must fit in 32 bits, got a class named {max(ids.values())}")
        return Legend(ids=tuple(sorted(ids.values())), background=background), ids
    else:
        ids = {name: i for i, name in enumerate(order, start=int(background == 0))}
    return (
        Legend(
            ids=tuple(sorted(set(ids.values()) - {background})),
            names={i: name for name, i in ids.items()},
            background=background,
        ),
        ids,
    )


def encode_sidecar(legend: Legend, form: str) -> tuple[PurePosixPath, bytes]:
    """Return the file that keeps ids, names and background beside an export."""
    titles = legend.titles
    document = {
        "format": form,
        "background": legend.background,
        "classes": [{"id": i, "title": titles[i], "name": legend.names.get(i)} for i in legend.ids],
    }
    return PurePosixPath(SIDECAR), (json.dumps(document, indent=1) + "\n").encode()


def read_sidecar(folder: Path) -> tuple[Legend, dict[str, int]] | None:
    """Read what ``encode_sidecar`` wrote: the legend and the id of each title; None without one.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / SIDECAR
    if not path.is_file():
        return None
    document = read_json(path)
    try:
        classes = [(int(c["id"]), str(c["title"]), c["name"]) for c in document["classes"]]
        background = document["background"]
        if not (background is None or isinstance(background, int)):
            raise ValueError(f"background {background!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected 'background' and 'classes' as 'uosam export' writes them, got "
            f"{error!r}; remove the file to go without it"
        ) from error
    legend = Legend(
        ids=tuple(i for i, _, _ in classes),
        names={i: str(name) for i, _, name in classes if name},
        background=background,
    )
    return legend, {title: i for i, title, _ in classes}


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        reason = reason_of(error)
        raise InputError(f"{path}: expected JSON, got: {reason}") from error


def check_name(name: object, where: str) -> str:
    """Return the picture's name of a foreign file, if it stays inside a folder.

    Raises:
        InputError: it is no text, is absolute or climbs out.
    """
    path = PurePosixPath(str(name).replace("\\", "/"))
    inside = isinstance(name, str) and name and "\0" not in name and ".." not in path.parts
    if not inside or path.is_absolute() or not path.name or ":" in path.parts[0]:
        raise InputError(f"{where}: expected a relative path of a picture, got {name!r}")
    return path.as_posix()


def check_size(height: object, width: object, where: str) -> tuple[int, int]:
    """Return (H, W) of a foreign file, if a picture can be that large.

    Raises:
        InputError: no whole numbers of 1 or more, or too many pixels.
    """
    try:
        hw = int(str(height)), int(str(width))
    except ValueError as error:
        raise InputError(
            f"{where}: expected height and width of a picture as whole numbers, got {height!r} and "
            f"{width!r}"
        ) from error
    if min(hw) < 1 or hw[0] * hw[1] > MOST_PIXELS:
        raise InputError(
            f"{where}: expected height and width of a picture of at most {MOST_PIXELS} pixels, got "
            f"{height!r} and {width!r}"
        )
    return hw
