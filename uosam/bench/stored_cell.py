"""Cells of a benchmark on disk, which may be cut, or by another hand."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uosam.errors import InputError
from uosam.metrics.counts import PairTable
from uosam.structures import LabelMap


@dataclass(frozen=True, eq=False, kw_only=True)
class Cell:
    """What a method did on a set.

    Attributes:
        table: pixel counts of every picture by label pair; empty if the method failed.
        seconds: wall time of each picture, files and first call not counted; a picture whose
            embedding was remembered counts as long as it took to encode.
        peak_mb: largest resident memory of the process, in MB of 2 ** 20 bytes.
        error: why there are no numbers, or "".
        cached: whether an earlier run had filled the cell.
        maps: file of the refined maps, or None.
    """

    table: PairTable
    seconds: tuple[float, ...] = ()
    peak_mb: float = float("nan")
    error: str = ""
    cached: bool = False
    maps: Path | None = None


def read_cell(path: Path, *, cached: bool = False, key: Mapping[str, Any] | None = None) -> Cell:
    """Read a cell that ``run_cell`` has written.

    Args:
        path: of the cell.
        cached: whether an earlier run has filled it.
        key: of the job; None takes any.

    Raises:
        InputError: it is cut, of another job, or holds what no cell holds.
    """
    maps: Path | None = path.with_suffix(".npz")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if key is not None and found["key"] != key:
            raise ValueError("another job")
        columns = len(found["counts"][0]) if found["counts"] else 6
        table = PairTable(
            names=tuple(map(_text, found["names"])),
            image=np.array(found["image"], np.int64),
            pred=np.array(found["pred"], np.int32),
            target=np.array(found["target"], np.int32),
            counts=np.array(found["counts"], np.int64).reshape(-1, columns),
        )
        _check_table(table)
        seconds, peak = tuple(map(float, found["seconds"])), float(found["peak_mb"])
        if len(seconds) != len(table.names) or not all(0 <= value < 1e9 for value in seconds):
            raise ValueError("times of other pictures")
        if maps is not None and maps.is_file():
            with zipfile.ZipFile(maps) as archive:
                names = {f"map_{index}.npy" for index in range(len(table.names))}
                if not names <= set(archive.namelist()) or archive.testzip():
                    raise ValueError("maps of other pictures")
        else:
            maps = None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: no cell of a benchmark ({error}); remove it") from error
    except (RuntimeError, zipfile.BadZipFile) as error:  # nested too deeply, or cut
        raise InputError(f"{path}: no cell of a benchmark ({error}); remove it") from error
    return Cell(table=table, seconds=seconds, peak_mb=peak, cached=cached, maps=maps)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a name that is {value!r}")
    return value


def _check_table(table: PairTable) -> None:
    """Refuse counts that no picture gives."""
    rows = {len(column) for column in (table.image, table.pred, table.target, table.counts)}
    columns = (table.image, table.pred, table.target)
    if len(rows) != 1 or any(column.ndim != 1 for column in columns):
        raise ValueError("columns of different lengths")
    if rows != {0} and (
        table.image.min() < 0
        or table.image.max() >= len(table.names)
        or min(table.pred.min(), table.target.min()) < -1
        or table.counts.min() < 0
        or table.counts.shape[1] < 6
    ):
        raise ValueError("numbers out of range")


def read_map(cell: Cell, index: int) -> LabelMap:
    """Return the refined map of a cell's picture, by its place in order of name."""
    assert cell.maps is not None
    with np.load(cell.maps, allow_pickle=False) as arrays:
        return np.asarray(arrays[f"map_{index}"], np.int32)
