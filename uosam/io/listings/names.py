"""Names of very many files in little memory: a million of them take some tens of megabytes."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from uosam.structures import Sample
from uosam.text import without_suffix

Item = TypeVar("Item", covariant=True)


class Listing(Sequence[Item], Generic[Item]):
    """A sequence whose items are made when they are asked for.

    Args:
        size: how many there are.
        make: returns the item of an index from 0 to ``size - 1``.
    """

    def __init__(self, size: int, make: Callable[[int], Item]) -> None:
        self._size, self._make = size, make

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> Listing[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | Listing[Item]:
        if isinstance(index, slice):
            return choose(self, range(self._size)[index])
        place = index + self._size if index < 0 else index
        if not 0 <= place < self._size:
            raise IndexError(f"index must be below {self._size}, got {index}")
        return self._make(place)

    def __iter__(self) -> Iterator[Item]:
        return map(self._make, range(self._size))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __repr__(self) -> str:
        return repr(list(self))


class Names:
    """Strings one after the other in one piece of memory; more may be added at the end."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._bytes, self._ends = bytearray(), array("Q", [0])
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        """Add a string; surrogates, as names of files may hold, are kept."""
        self._bytes += name.encode(errors="surrogatepass")
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        start, end = self._ends[index], self._ends[index + 1]
        return self._bytes[start:end].decode(errors="surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))


def choose(items: Sequence[Item], places: Sequence[int]) -> Listing[Item]:
    """Return the items at some places, in that order."""
    return Listing(len(places), lambda index: items[places[index]])


def list_paths(root: Path, names: Names, places: Sequence[int]) -> Listing[Path]:
    """Return the paths of names below a folder."""
    return Listing(len(places), lambda index: root / names[places[index]])


def list_samples(
    roots: tuple[Path, Path], images: Names, masks: Names, pairs: Sequence[tuple[int, int]] | Any
) -> Listing[Sample]:
    """Return samples called like their masks.

    Args:
        roots: folders of images and masks.
        images: names below the first.
        masks: names below the second.
        pairs: (N, 2) indices of image and mask.
    """
    top, below = (os.path.join(root, "") for root in roots)

    def make(index: int) -> Sample:
        image, mask = pairs[index]
        name = masks[mask]
        return Sample(
            name=without_suffix(name),
            image=Path(f"{top}{images[image]}"),
            coarse=Path(f"{below}{name}"),
        )

    return Listing(len(pairs), make)
