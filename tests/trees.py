"""Folders of outputs, compared byte by byte."""

from __future__ import annotations

from pathlib import Path

VOLATILE = "summary.json"
"""The one file of a run that tells of time."""


def tree(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder but those that tell of time, by relative name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != VOLATILE
    }
