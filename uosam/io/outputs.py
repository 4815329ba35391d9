"""Refuse outputs that would destroy inputs, each other, or files elsewhere, before any write."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from uosam.errors import ConfigError, InputError


def check_outputs(
    outputs: Iterable[tuple[Path, str]],
    inputs: Iterable[Path],
    *,
    root: Path | None = None,
) -> None:
    """Check where a run is going to write.

    Two names that differ in case or in the Unicode form alone count as one: on some disks they are.
    Links are followed, and a file with two names is one file.

    Args:
        outputs: files that will be written, each with what the user calls it.
        inputs: files that the run reads.
        root: folder that no output may leave, through whatever link; None for files that the user
            named one by one.

    Raises:
        ConfigError: an output is an input.
        InputError: two outputs are one file, or one lies outside of ``root``.
    """
    read: dict[tuple[int, int], Path] = {}
    for path in inputs:
        for identity in _identities(path):
            read.setdefault(identity, path)
    parents: dict[Path, str] = {}
    base = None if root is None else os.path.realpath(root)
    taken: dict[str, str] = {}
    for path, name in outputs:
        if path.parent not in parents:
            parents[path.parent] = os.path.realpath(path.parent)
        place = os.path.join(parents[path.parent], path.name)
        if base is not None and os.path.commonpath([base, place]) != base:
            raise InputError(
                f"{name} would be written to {place}, outside of the output folder {root}; "
                "give another name, or remove the link"
            )
        key = unicodedata.normalize("NFC", place).casefold()
        if key in taken:
            raise InputError(f"{taken[key]} and {name} would both be written to {path}; rename one")
        taken[key] = name
        for identity in _identities(path):
            if identity in read:
                raise ConfigError(
                    f"{read[identity]} would be overwritten by the output for {name}; "
                    "give another output folder"
                )


def _identities(path: Path) -> list[tuple[int, int]]:
    """Tell a file from all others: the name's own entry, and what it leads to."""
    found = []
    for follow in (True, False):
        try:
            stat = path.stat() if follow else path.lstat()
        except (OSError, ValueError):
            continue
        found.append((stat.st_dev, stat.st_ino))
    return found
