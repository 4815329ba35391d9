"""Numbers that others have printed, with their sources, as rows beside the measured ones."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uosam.bench.plan import SECTIONS, read_tree
from uosam.bench.scores import BenchRow
from uosam.errors import ConfigError, InputError, unknown

SCORES = {
    "mIoU": "mIoU",
    "B-mIoU": "boundary_mIoU",
    "Img-Acc": "image_accuracy",
    "Fbeta": "F_beta",
    "pAcc": "pixel_accuracy",
}
"""Names of scores in the data, and ours; others are not shown."""

_COLUMNS = ("dataset", "split", "method", "backbone", "prior", "metric", "value", "source", "note")


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """Which printed rows belong together.

    Attributes:
        file: CSV with a row for each number.
        dataset: as the file has it.
        split: as the file has it.
        source: how the source of a row begins.
    """

    file: Path
    dataset: str
    split: str
    source: str


def holds_tables(source: str | Path) -> bool:
    """Tell whether a YAML file declares published tables, and not a benchmark.

    Raises:
        ConfigError: there is no such file, or it is neither.
    """
    tree, _ = read_tree(source, (*SECTIONS, "file", "tables"))
    return "tables" in tree


def read_tables(source: str | Path = "published") -> dict[str, PublishedTable]:
    """Read the tables that a YAML file declares, by name.

    Raises:
        ConfigError: the file is not there or an entry is no table.
    """
    tree, path = read_tree(source, ("file", "tables"))
    tables: Any = tree.get("tables")
    if not isinstance(tables, dict) or not isinstance(tree.get("file"), str):
        raise ConfigError(f"{path}: expected 'file' and 'tables', got {', '.join(tree) or 'none'}")
    found = {}
    for name, entry in tables.items():
        if not isinstance(entry, dict) or sorted(entry) != ["dataset", "source", "split"]:
            raise ConfigError(
                f"{path}: tables.{name} must have dataset, split and source, got {entry!r}"
            )
        file = path.parent / tree["file"]
        found[str(name)] = PublishedTable(file=file, **{k: str(v) for k, v in entry.items()})
    return found


def published_rows(names: Sequence[str], tables: Mapping[str, PublishedTable]) -> list[BenchRow]:
    """Return a row for each method, backbone and prior of the named tables, as printed.

    Raises:
        ConfigError: there is no table of a name.
        InputError: the data cannot be read or has none of its rows.
    """
    rows = []
    for name in names:
        if name not in tables:
            raise unknown("published table", name, tables)
        rows += _rows(name, tables[name])
    return rows


def _rows(name: str, table: PublishedTable) -> list[BenchRow]:
    scores: dict[str, dict[str, float]] = {}
    notes: dict[str, list[str]] = {}
    for line in _read(table.file):
        if (line["dataset"], line["split"]) != (table.dataset, table.split):
            continue
        if not line["source"].startswith(table.source):
            continue
        extras = [text for text in (line["backbone"], line["prior"]) if text not in ("", "-")]
        method = f"{line['method']} ({', '.join(extras)})" if extras else line["method"]
        metric = SCORES.get(line["metric"])
        if metric is not None:
            scores.setdefault(method, {})[metric] = float(line["value"]) / 100
            if line["note"]:
                notes.setdefault(method, []).append(f"{line['metric']}: {line['note']}")
    if not scores:
        raise InputError(
            f"{table.file}: expected rows of {table.dataset} {table.split} from "
            f"{table.source!r} for table {name!r}, found none"
        )
    return [
        BenchRow(
            kind="published",
            data=f"{table.dataset} {table.split}",
            method=method,
            scores=values,
            note="; ".join([table.source, *notes.get(method, [])]),
        )
        for method, values in scores.items()
    ]


def _read(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: published numbers cannot be read ({error.strerror}); they come with the "
            "source repository and the wheel"
        ) from error
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise InputError(
            f"{path}: expected the columns {', '.join(_COLUMNS)}, got "
            f"{', '.join(reader.fieldnames or ()) or 'none'}"
        )
    return list(reader)
