"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name beside ``path``, then rename it into place.

    Missing parent folders are made. The temporary name depends on ``path`` alone, so that a run
    that was killed between the two steps leaves nothing behind once the file is written again.

    Raises:
        OSError: the disk is full or the folder cannot be written, with ``path`` as its file name;
            no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            # The system names no file if the disk fills up, and the temporary one helps nobody.
            error.filename, error.filename2 = str(path), None
        raise
