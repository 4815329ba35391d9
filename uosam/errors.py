"""The three errors a user can cause, and the one sentence for an unknown name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    hint = f" did you mean {close[0]!r}?" if close else ""
    return ConfigError(f"unknown {kind} {name!r};{hint} (known: {', '.join(names)})")
