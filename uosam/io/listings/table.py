"""Pairs of pictures and masks as a CSV or Parquet table lists them, read in blocks."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from uosam.errors import InputError
from uosam.io.listings.names import Listing, Names
from uosam.io.pairs import Pairs
from uosam.io.stores.mounts import fetch, mount_file
from uosam.structures import Sample
from uosam.text import without_suffix

BLOCK = 20_000
"""Rows that are in memory at a time."""

_PER_BYTE = 10
"""Rows of a byte that are believed: each has a name of its own."""

_COLUMNS = ("image", "mask", "name", "target")


def read_manifest(path: Path) -> Pairs:
    """Read pairs from a CSV or Parquet table with columns image, mask and maybe name, target.

    Table and files may be URLs. Relative paths are relative to the table's folder. Without a name
    the mask's path below the folder that all masks share is taken, without suffix.

    Raises:
        InputError: the table cannot be read, lacks a column or a cell, or names are not unique
            relative paths.
    """
    path = mount_file(path)
    fetch([path])
    folder = path.resolve().parent
    cells = {column: Names() for column in _COLUMNS}
    shared: str | None = None
    last: str | None = None
    for row in _read_rows(path):
        mask = os.path.join(folder, row["mask"])
        parent = os.path.dirname(mask)
        if parent != last:
            last = parent
            shared = parent if shared is None else os.path.commonpath([shared, parent])
        for column in _COLUMNS:
            cells[column].add(row.get(column, ""))
    images, masks, given, targets = cells.values()
    base = shared or str(folder)

    def name_of(index: int) -> str:
        if given[index]:
            return given[index]
        mask = os.path.join(folder, masks[index])
        inside = os.path.join(base, "")
        below = mask[len(inside) :] if mask.startswith(inside) else os.path.relpath(mask, base)
        return without_suffix(PurePosixPath(below).as_posix())

    names = Names(map(name_of, range(len(masks))))
    for index, name in enumerate(names):
        if name.startswith("/") or ".." in name.split("/"):
            raise InputError(
                f"{path}: row {index + 1}: name must be a relative path without '..', got {name!r}"
            )
    order = sorted(range(len(names)), key=names.__getitem__)
    for before, after in itertools.pairwise(order):
        if names[before] == names[after]:
            raise InputError(
                f"{path}: row {after + 1}: name {names[after]!r} comes twice; names decide where "
                "outputs go, give each row its own in a column 'name'"
            )

    def make(index: int) -> Sample:
        row = order[index]
        return Sample(
            name=names[row],
            image=folder / mount_file(images[row]),
            coarse=folder / mount_file(masks[row]),
            target=folder / mount_file(targets[row]) if targets[row] else None,
        )

    return Pairs(samples=Listing(len(order), make))


def _read_rows(path: Path) -> Iterator[dict[str, str]]:
    line = 0
    try:
        for block in _read_blocks(path):
            columns = [name for name in _COLUMNS if name in block.columns]
            for column in ("image", "mask"):
                if column not in columns:
                    raise InputError(
                        f"{path}: a manifest needs the columns image and mask, "
                        f"got {', '.join(map(str, block.columns)) or 'none'}"
                    )
            table = block[columns].astype(object).where(block[columns].notna(), "")
            for cells in table.itertuples(index=False, name=None):
                line += 1
                row = dict(zip(columns, map(str, cells), strict=True))
                if not row["image"] or not row["mask"]:
                    raise InputError(f"{path}: row {line} must give both image and mask, got {row}")
                if any("\0" in cell for cell in row.values()):
                    raise InputError(
                        f"{path}: row {line}: no file has a name with a NUL in it, got {row}"
                    )
                yield row
    except InputError:
        raise
    except Exception as error:  # of two readers, each with errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: expected a CSV or Parquet table, got {reason}") from error


def _read_blocks(path: Path) -> Iterator[Any]:
    """Yield data frames of at most ``BLOCK`` rows, and one without rows for an empty table."""
    import pandas as pd  # here, so that pairing folders does not pay for it

    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as file:
            rows = file.metadata.num_rows
            if rows > _PER_BYTE * path.stat().st_size:  # a damaged number would fill the memory
                raise ValueError(f"{rows} rows in {path.stat().st_size} bytes")
            yield file.schema_arrow.empty_table().to_pandas()
            for batch in file.iter_batches(BLOCK):
                rows -= len(batch)
                if rows < 0:
                    raise ValueError("more rows than it says")
                yield batch.to_pandas()
        return
    # As text: a name such as 007 is not a number.
    with pd.read_csv(
        path, dtype=str, keep_default_na=False, skipinitialspace=True, chunksize=BLOCK
    ) as blocks:
        yield from blocks
