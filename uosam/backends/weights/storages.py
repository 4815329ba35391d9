"""The memory of stored tensors: bytes of a file as torch storages, and tensors over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

import torch

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
"""Name of a class of storages to what it holds; quantised ones are of no use here."""

_SMALL = 1 << 16
"""Elements up to which a tensor may repeat its storage; a few bytes must not become terabytes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Storage:
    """Bytes of one storage, or of a part of one, and how they are counted.

    Attributes:
        data: (n,) uint8.
        dtype: of its elements.
    """

    data: torch.Tensor
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Storages:
    """What stands for the storages of a file while its pickle is read.

    Attributes:
        find: returns the bytes (n,) uint8 of a storage by its key and its size in bytes.
        known: the storages so far, since several tensors may share one.
    """

    find: Callable[[str, int], torch.Tensor]
    known: dict[str, torch.Tensor] = field(default_factory=dict)

    def load(self, reference: object) -> object:
        """Return what a persistent id of torch's pickles refers to.

        Raises:
            ValueError: it is no such id, or the file holds less than it says.
        """
        if not isinstance(reference, tuple) or not reference:
            raise ValueError("a reference of another kind")
        if reference[0] == "module":  # torch before 1.6 stored source code beside modules
            return reference[1]
        kind, dtype, key, _, count, *view = reference
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(key, str):
            raise ValueError("a reference of another kind")
        if not isinstance(count, int) or count < 0:
            raise ValueError("a storage without a size")
        if key not in self.known:
            self.known[key] = self.find(key, count * dtype.itemsize)
        data = self.known[key]
        if view and view[0] is not None:
            _, start, length = view[0]
            data = data[start * dtype.itemsize : (start + length) * dtype.itemsize]
        return Storage(data=data, dtype=dtype)


def from_archive(contents: dict[str, memoryview]) -> Storages:
    """Return the storages of a zip archive of torch: the entries ``data/KEY``."""

    def find(key: str, size: int) -> torch.Tensor:
        content = contents[f"data/{key}"]
        if len(content) != size:
            raise ValueError("a storage of another size")
        # A copy: the file may change, and tensors must not.
        return torch.frombuffer(bytearray(content), dtype=torch.uint8) if size else _empty(0)

    return Storages(find)


def reserve(limit: int) -> Storages:
    """Return storages that are filled later, of ``limit`` bytes together at most."""
    left = limit

    def find(key: str, size: int) -> torch.Tensor:
        nonlocal left
        left -= size
        if left < 0:
            raise ValueError("storages larger than the file")
        return _empty(size)

    return Storages(find)


def fill(data: torch.Tensor, file: IO[bytes]) -> None:
    """Read the bytes of a reserved storage from a stream.

    Raises:
        EOFError: there are fewer.
    """
    if len(data) and file.readinto(data.numpy()) != len(data):  # type: ignore[attr-defined]
        raise EOFError


def rebuild(
    storage: Storage, offset: int, size: Sequence[int], stride: Sequence[int], *rest: object
) -> torch.Tensor:
    """Return a tensor over a storage, as ``_rebuild_tensor`` and its later versions of torch do.

    Args:
        storage: that ``Storages.load`` returned.
        offset: of the first element.
        size: of the tensor.
        stride: elements from one to the next, by axis.
        rest: whether it takes part in training, hooks, and in the third version its dtype, of
            which the last alone is of use.

    Raises:
        TypeError: an argument is of another kind.
        ValueError: it repeats the storage more often than any checkpoint does.
        RuntimeError: it goes beyond the storage.
    """
    if not isinstance(storage, Storage):
        raise TypeError("no storage")
    dtype = next((value for value in rest if isinstance(value, torch.dtype)), storage.dtype)
    flat = storage.data.view(dtype)
    if math.prod(size) > max(len(flat), _SMALL):
        raise ValueError("a tensor larger than its storage")
    return torch.as_strided(flat, tuple(size), tuple(stride), offset)


def _empty(size: int) -> torch.Tensor:
    return torch.empty(size, dtype=torch.uint8)
