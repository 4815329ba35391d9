"""Refuse outputs that would destroy inputs, each other, or files elsewhere, before any write."""

from __future__ import annotations

import os
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from uosam.errors import ConfigError, InputError
from uosam.io.stores.mounts import locate

Outputs = Iterable[tuple[Path, str]]
"""The files that will be written, each with what the user calls it."""


def check_outputs(outputs: Outputs, inputs: Iterable[Path], *, root: Path | None = None) -> None:
    """Check where a run is going to write.

    Two names that differ in case or in the Unicode form alone count as one: on some disks they are.
    Links are followed, and a file with two names is one file. A million files take some tens of
    megabytes; inputs are looked at only if an output is there already.

    Args:
        outputs: files that will be written; gone through more than once, so no iterator.
        inputs: files that the run reads; the same.
        root: folder that no output may leave, through whatever link; None for files that the user
            named one by one.

    Raises:
        ConfigError: an output is an input.
        InputError: two outputs are one file, or one lies outside of ``root``.
    """
    places = _Places(root)
    keys, there = array("q"), False
    for path, name in outputs:
        keys.append(hash(places.key(path, name)))
        there = there or os.path.lexists(path)
    hashes = np.frombuffer(keys, np.int64) if keys else np.zeros(0, np.int64)
    values, counts = np.unique(hashes, return_counts=True)
    _refuse_twice(outputs, places, set(values[counts > 1].tolist()))
    if there:
        _refuse_inputs(outputs, inputs)


def check_folders(folders: Mapping[str, Path], inputs: Sequence[Path]) -> None:
    """Refuse to write into an input folder, or pictures for people among the results.

    Args:
        folders: what is written by what it is called; the results are "output".
        inputs: folders that are only read.

    Raises:
        ConfigError: which folder lies in which.
    """
    places = {name: locate(path) for name, path in folders.items()}
    protected = [locate(path) for path in inputs if path.is_dir()]
    for name, folder in places.items():
        others = protected if name == "output" else [*protected, places["output"]]
        for other in others:
            if folder.is_relative_to(other):
                raise ConfigError(
                    f"the {name} folder {folder} must not be or lie in {other}; "
                    "give a folder beside it"
                )


class _Places:
    """Tells where outputs really lie, folder by folder."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self.base = None if root is None else os.path.realpath(root)
        self.parent: tuple[str, str] = ("", "")
        self.inside = True

    def key(self, path: Path, name: str) -> str:
        """Return what two outputs that are one file have in common."""
        folder, file = os.path.split(path)
        if self.parent[0] != folder or not folder:
            self.parent = (folder, os.path.realpath(folder))
            inside = self.base is None or self.base in (
                self.parent[1],
                os.path.commonpath([self.base, self.parent[1]]),
            )
            self.inside = inside
        place = os.path.join(self.parent[1], file)
        if not self.inside or file in ("", ".", ".."):
            raise InputError(
                f"{name} would be written to {place}, outside of the output folder {self.root}; "
                "give another name, or remove the link"
            )
        return (place if place.isascii() else unicodedata.normalize("NFC", place)).casefold()


def _refuse_twice(outputs: Outputs, places: _Places, hashes: set[int]) -> None:
    taken: dict[str, str] = {}
    for path, name in outputs if hashes else ():
        key = places.key(path, name)
        if hash(key) in hashes:
            if key in taken:
                raise InputError(
                    f"{taken[key]} and {name} would both be written to {path}; rename one"
                )
            taken[key] = name


def _refuse_inputs(outputs: Outputs, inputs: Iterable[Path]) -> None:
    """Hold what is there of the outputs against the inputs, as pairs of device and number."""
    written = _number(identity for path, _ in outputs for identity in _identities(path))
    read = _number(identity for path in inputs for identity in _identities(path))
    shared = {tuple(pair) for pair in np.intersect1d(written, read).tolist()}
    if not shared:
        return
    for path in inputs:
        if shared.intersection(_identities(path)):
            same = shared.intersection(_identities(path))
            for output, name in outputs:
                if same.intersection(_identities(output)):
                    raise ConfigError(
                        f"{path} would be overwritten by the output for {name}; "
                        "give another output folder"
                    )


def _number(identities: Iterator[tuple[int, int]]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Return identities as an array of records, each once."""
    kind = np.dtype([("device", np.uint64), ("number", np.uint64)])
    return np.unique(np.fromiter(identities, kind))


def _identities(path: Path) -> list[tuple[int, int]]:
    """Tell a file from all others: the name's own entry, and what it leads to."""
    found = []
    for follow in (True, False):
        try:
            stat = os.stat(path, follow_symlinks=follow)
        except (OSError, ValueError):
            continue
        found.append((stat.st_dev, stat.st_ino))
    return found
