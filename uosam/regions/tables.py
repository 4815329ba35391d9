"""``names.csv`` and ``names.json``: what the clusters of a folder are called, for people and tools.

A person may change the column ``name`` of the CSV; nothing else of it is read back but ``id``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from uosam.errors import InputError
from uosam.regions.naming import UNKNOWN, Name

COLUMNS = ("id", "name", "score", "share", "margin", "runner_up", "regions", "pictures")

_FORMULA = ("=", "+", "-", "@")
"""What a formula begins with."""


def write_csv(names: Mapping[int, Name]) -> bytes:
    """Return ``names.csv``: one row for each id, numbers with four places.

    >>> name = Name(text="dog", score=0.9, share=1.0, margin=0.8, best=(("dog", 0.9),))
    >>> write_csv({3: name}).decode().splitlines()[1]
    '3,dog,0.9000,1.0000,0.8000,,1,1'
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for label, name in names.items():
        numbers = (f"{value:.4f}" for value in (name.score, name.share, name.margin))
        text, second = _quoted(name.text), _quoted(name.runner_up)
        writer.writerow([label, text, *numbers, second, name.regions, name.pictures])
    return buffer.getvalue().encode()


def _quoted(text: str) -> str:
    """Keep programs for tables from taking a name for a formula.

    >>> _quoted("=1+1"), _quoted("cat")
    ("'=1+1", 'cat')
    """
    return f"'{text}" if text[:1] in _FORMULA else text


def _is_quoted(text: str) -> bool:
    return text[:1] == "'" and text[1:2] in _FORMULA


def read_csv(data: bytes, where: str) -> dict[int, str]:
    """Return the name of every id; an empty name is "unknown".

    Args:
        data: of the file; of its columns only ``id`` and ``name`` are needed.
        where: name of the file, for messages.

    Raises:
        InputError: it is no such table, or has an id twice.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: expected a CSV file in UTF-8, got {error}") from error
    # Programs for tables write semicolons where the comma marks decimals.
    first = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in first else ",")
    if not {"id", "name"} <= set(rows.fieldnames or ()):
        raise InputError(
            f"{where}: expected the columns id and name, got {', '.join(rows.fieldnames or ())}"
        )
    names: dict[int, str] = {}
    for line, row in enumerate(rows, start=2):
        cell = (row["id"] or "").strip()
        if not cell.isdecimal() or int(cell) in names:
            problem = "once" if cell.isdecimal() else "as a number"
            raise InputError(f"{where}, line {line}: every id must stand {problem}, got {cell!r}")
        # A line break would be a class of its own in lists of classes.
        text = " ".join((row["name"] or "").split())
        names[int(cell)] = text[1:] if _is_quoted(text) else text or UNKNOWN
    if not names:
        raise InputError(f"{where}: expected a row for each id, got none")
    return names


def write_json(
    names: Mapping[int, Name], vocabulary: Sequence[str], facts: Mapping[str, Any]
) -> bytes:
    """Return ``names.json``: all of the table, the best five names, and what made it.

    Args:
        names: by id.
        vocabulary: all names in its order, which is that of ids when the names are applied.
        facts: further entries: model, settings, notes.
    """
    clusters = [
        {
            "id": label,
            "name": name.text,
            "score": name.score,
            "share": name.share,
            "margin": name.margin,
            "regions": name.regions,
            "pictures": name.pictures,
            "best": [{"name": text, "score": score} for text, score in name.best],
        }
        for label, name in names.items()
    ]
    document = {**facts, "vocabulary": list(vocabulary), "clusters": clusters}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def read_order(data: bytes, where: str) -> list[str]:
    """Return the vocabulary that a ``names.json`` was made with, in its order.

    Raises:
        InputError: it is no such file.
    """
    try:
        return [str(name) for name in json.loads(data)["vocabulary"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: expected what uosam name wrote, got {error!r}") from error


def read_names(data: bytes, where: str) -> dict[int, str]:
    """Return the name of every id in a ``names.json``.

    Raises:
        InputError: it is no such file.
    """
    try:
        return {int(one["id"]): str(one["name"]) for one in json.loads(data)["clusters"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: expected what uosam name wrote, got {error!r}") from error
