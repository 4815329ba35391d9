"""The header of a student's file: what the ids are and how it looks at pictures; without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from uosam.errors import BackendError

KIND = "uosam student"
"""The one entry of the header."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What must be known of a student besides its weights.

    Attributes:
        classes: ids it tells apart, 0 to ``classes`` - 1.
        side: long side of the pictures that it was taught with.
        background: id that is no object, or None.
        codec: encoding of the masks that it was taught with.
    """

    classes: int
    side: int
    background: int | None
    codec: str


def read_facts(path: Path) -> Facts:
    """Read the header alone.

    Raises:
        BackendError: the file is missing, damaged, or no student.
    """
    try:
        with safe_open(path, "np") as stored:
            header = stored.metadata() or {}
        if KIND not in header:
            raise BackendError(
                f"{path} must be weights of a student, got another file; uosam retrain writes them "
                "as student.safetensors"
            )
        return _facts(json.loads(header[KIND]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BackendError(
            f"{path} must be weights of a student, got {type(error).__name__}; uosam retrain "
            "writes them as student.safetensors"
        ) from error


def _facts(tree: dict[str, Any]) -> Facts:
    facts = Facts(**tree)
    numbers = [facts.classes, facts.side, facts.background or 0]
    if not all(type(n) is int for n in numbers) or not isinstance(facts.codec, str):
        raise ValueError("numbers")
    if not (2 <= facts.classes <= 1 << 16 and 32 <= facts.side <= 1 << 14):
        raise ValueError("range")
    return facts
