"""The one walker of folders: which files every command sees, and in which order."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from uosam.errors import InputError


def list_files(
    folder: Path, suffixes: Iterable[str], unreadable: dict[str, str]
) -> list[PurePosixPath]:
    """List the files below a folder, sorted; links are followed, loops are not.

    Hidden files and folders and what archives of macOS bring (``__MACOSX``) are passed over.

    Args:
        folder: where to look.
        suffixes: endings to take, in small letters with their dot; a file's own may be in any case.
        unreadable: gets the sub-folders that cannot be listed, with the reason.

    Returns:
        Paths relative to the folder.

    Raises:
        InputError: the folder is missing or cannot be listed.
    """
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder}: expected a folder, but it {kind}")
    errors: list[OSError] = []
    files, seen = [], set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=errors.append):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        relative = Path(root).relative_to(folder).as_posix()
        files += [
            PurePosixPath(relative, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes
        ]
    for error in errors:
        if error.filename is None or Path(error.filename) == folder:
            raise InputError(f"{folder}: folder cannot be listed ({error.strerror})")
        unreadable[str(error.filename)] = f"folder cannot be listed ({error.strerror})"
    return sorted(files)
