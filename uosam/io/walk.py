"""The one walker of folders: which files every command sees, and in which order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from uosam.errors import InputError
from uosam.io.stores.archives import ASIDE
from uosam.io.stores.mounts import list_store

_HIDDEN = (".", "__MACOSX", ASIDE)


def list_files(
    folder: Path, suffixes: Iterable[str], unreadable: dict[str, str]
) -> list[PurePosixPath]:
    """List the files below a folder, sorted; see ``walk_files``."""
    return sorted(map(PurePosixPath, walk_files(folder, suffixes, unreadable)))


def walk_files(folder: Path, suffixes: Iterable[str], unreadable: dict[str, str]) -> Iterator[str]:
    """Yield the files below a folder in order of their names without suffix.

    Links are followed, loops are not. Hidden files and folders, what archives of macOS bring
    (``__MACOSX``) and a run's notes in an archive (``__uosam__``) are passed over. One folder at a
    time is in memory.

    Args:
        folder: where to look.
        suffixes: endings to take, in small letters with their dot; a file's own may be in any case.
        unreadable: gets the sub-folders that cannot be listed, with the reason.

    Yields:
        Paths relative to the folder, with "/".

    Raises:
        InputError: the folder is missing or cannot be listed.
    """
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder}: expected a folder, but it {kind}")
    wanted = frozenset(suffixes)
    stored = list_store(folder)
    if stored is not None:
        yield from _sort_names(stored, wanted)
        return
    try:
        found = _list(os.fspath(folder), wanted)
    except OSError as error:
        raise InputError(f"{folder}: folder cannot be listed ({error.strerror})") from error
    # A stack, since a tree may be deeper than Python's calls.
    stack = [(iter(found), "")]
    seen = {os.path.realpath(folder)}
    while stack:
        entries, inside = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
        elif not entry[1].endswith("/"):
            yield inside + entry[1]
        else:
            path = os.path.join(folder, inside + entry[1][:-1])
            real = os.path.realpath(path)
            if real in seen:
                continue
            seen.add(real)
            try:
                stack.append((iter(_list(path, wanted)), inside + entry[1]))
            except OSError as error:
                unreadable[path] = f"folder cannot be listed ({error.strerror})"


def _sort_names(names: Iterable[str], suffixes: frozenset[str]) -> list[str]:
    """Choose and sort names of a store as files of a folder would be."""
    chosen = []
    for name in names:
        stem, suffix = os.path.splitext(name)
        hidden = any(part.startswith(_HIDDEN) for part in name.split("/"))
        if suffix.lower() in suffixes and not hidden:
            chosen.append((stem, name))
    return [name for _, name in sorted(chosen)]


def _list(folder: str, suffixes: frozenset[str]) -> list[tuple[str, str]]:
    """List a folder sorted by stem: that and name of every file, name with "/" of every folder.

    So a folder comes where the names of the files in it belong.
    """
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if _is_folder(entry):
                if not name.startswith(_HIDDEN):
                    found.append((f"{name}/", f"{name}/"))
            else:
                stem, suffix = os.path.splitext(name)
                if suffix.lower() in suffixes:
                    found.append((stem, name))
    return sorted(found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in circles
        return False
