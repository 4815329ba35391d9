"""The three errors a user can cause, the sentence for an unknown name, and others' words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_NO_MEMORY = re.compile(
    r"(?i)(can't|cannot) allocate memory|insufficient memory|unable to allocate|"
    r"failed to map segment"
)
"""What torch, OpenCV, NumPy and the loader of libraries say, each in an error type of its own."""

_ADDRESS = re.compile(r"\s*<[^<>]* at 0x[0-9a-fA-F]+>")
"""How Python calls an object without a name; no user knows it."""


class UosamError(Exception):
    """Anything the user can mend; the command line prints it as one line and exits with 2."""


class InputError(UosamError, ValueError):
    """A picture, mask, manifest or array is not what the function needs."""


class ConfigError(UosamError, ValueError):
    """A setting has an unknown key, a wrong type or a value out of range."""


class BackendError(UosamError, RuntimeError):
    """A model or its checkpoint cannot be loaded or run."""


def unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """Build the error for a name that is not in a table, with the nearest known name.

    >>> str(unknown("backend", "vitb", ["vit_b", "vit_h"]))
    "unknown backend 'vitb'; did you mean 'vit_b'? (known: vit_b, vit_h)"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")


def reason_of(error: BaseException) -> str:
    """Return what a library says of a fault, in one line and without addresses in memory.

    >>> reason_of(OSError("cannot identify image file <_io.BytesIO object at 0x7f00aa>"))
    'cannot identify image file'
    >>> reason_of(EOFError())
    'EOFError'
    """
    return _ADDRESS.sub("", " ".join(str(error).split())) or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, whatever type the library that met it gave the error."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None
