"""Find the files of two folders that belong together, by keys made of their names.

Keys are compared by 64-bit hashes in arrays, since tables of a million strings take hundreds of
megabytes; what agrees is looked at once more.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.io.listings.names import Names

Key = Callable[[str], str]
"""Makes of a relative path what its partner must agree in."""

Places = NDArray[np.int64]


def match(
    roots: tuple[Path, Path], files: tuple[Names, Names], keys: Sequence[Key]
) -> tuple[Places, Places, Places]:
    """Pair files of two folders: by the first key, what is left by the second, and so on.

    Args:
        roots: the folders, for errors.
        files: relative paths.
        keys: of which an equal one makes a pair.

    Returns:
        pairs: (N, 2) indices, in order of the second.
        left: indices without a partner, of each side.

    Raises:
        InputError: two files have a key that has a partner.
    """
    left = tuple(np.arange(len(names), dtype=np.int64) for names in files)
    found = [np.zeros((0, 2), np.int64)]
    for key in keys:
        if not all(map(len, left)):
            break
        pairs = _match(roots, files, (left[0], left[1]), key)
        found.append(pairs)
        left = tuple(
            rest[~np.isin(rest, pairs[:, side], assume_unique=True)] if len(pairs) else rest
            for side, rest in enumerate(left)
        )
    pairs = np.concatenate(found)
    return pairs[np.argsort(pairs[:, 1], kind="stable")], left[0], left[1]


def _match(
    roots: tuple[Path, Path], files: tuple[Names, Names], left: tuple[Places, Places], key: Key
) -> Places:
    salt = ""
    while True:
        sides = [_hash(names, rest, key, salt) for names, rest in zip(files, left, strict=True)]
        (values, starts, counts), (others, other_starts, other_counts) = (
            np.unique(hashes, return_index=True, return_counts=True) for hashes in sides
        )
        _, one, other = np.intersect1d(values, others, assume_unique=True, return_indices=True)
        repeated = np.flatnonzero((counts[one] > 1) | (other_counts[other] > 1))
        pairs = np.stack([left[0][starts[one]], left[1][other_starts[other]]], axis=1)
        # One name has several spellings: Linux composes letters, macOS takes them apart.
        wrong = [
            index
            for index, (image, mask) in enumerate(zip(pairs[:, 0], pairs[:, 1], strict=True))
            if _spell(key(files[0][image])) != _spell(key(files[1][mask]))
        ]
        if not wrong and not len(repeated):
            return pairs
        if not wrong:
            _refuse(roots, files, left, sides, (values[one][repeated[0]], key))
        salt += "."  # two names have one hash, once in a lifetime: try another one


def _hash(names: Names, left: Places, key: Key, salt: str) -> NDArray[np.int64]:
    return np.fromiter(
        (hash(salt + _spell(key(names[index]))) for index in left), np.int64, len(left)
    )


def _spell(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _refuse(
    roots: tuple[Path, Path],
    files: tuple[Names, Names],
    left: tuple[Places, Places],
    hashes: Sequence[NDArray[np.int64]],
    shared: tuple[Any, Key],
) -> None:
    """Name two files that have one key; return if only their hashes are the same."""
    value, key = shared
    for side in (0, 1):
        places = left[side][hashes[side] == value].tolist()
        named: dict[str, str] = {}
        for name in map(files[side].__getitem__, places):
            spelled = _spell(key(name))
            if spelled in named:
                raise InputError(
                    f"{roots[side] / named[spelled]} and {roots[side] / name} both answer to "
                    f"{spelled!r}; rename or remove one, or list the pairs in a manifest "
                    "(--manifest)"
                )
            named[spelled] = name
