"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import IO

_TEMPORARY = re.compile(r"\.uosam-[0-9a-f]{16}\.tmp")


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` as ``replacing`` says.

    Raises:
        OSError: the disk is full or the folder cannot be written, with ``path`` as its file name;
            no temporary file is left.
    """
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a new file beside ``path`` that takes its place once all is written and on the disk.

    Missing parent folders are made. The temporary name is of no one's choosing and is never opened
    if anything is there already, so that a planted link leads nowhere. After a power cut the
    old or the new content is there, never a part.

    Raises:
        OSError: as ``write_atomic``; after any other error of the block, too, no file is left.
    """
    temporary = path.with_name(f".uosam-{secrets.token_hex(8)}.tmp")
    try:
        with open(_create(temporary), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            # The system names no file if the disk fills up, and the temporary one helps nobody.
            error.filename, error.filename2 = str(path), None
        raise


def _create(path: Path) -> int:
    """Open a file that is not there yet, in a folder that may not be there either."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_BINARY", 0)
    # 0o666 less the user's mask, as any new file.
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o666)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def open_own(path: Path, flags: int) -> int:
    """Open a file that is ours alone to write, for the ``opener`` of ``open``.

    Raises:
        OSError: it is a link, of either kind, or no file.
    """
    handle = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    stat = os.fstat(handle)
    if not S_ISREG(stat.st_mode) or stat.st_nlink > 1:
        os.close(handle)
        raise OSError(errno.EEXIST, "no file, or one with another name elsewhere", str(path))
    return handle


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed run left half-written below a folder that nobody else writes into."""
    for root, _, names in os.walk(folder):
        for name in names:
            if _TEMPORARY.fullmatch(name):
                with contextlib.suppress(OSError):
                    os.unlink(os.path.join(root, name))
