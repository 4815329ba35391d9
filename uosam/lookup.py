"""Resolve a table key or a ``module:function`` reference to the function it names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from uosam.errors import ConfigError, is_out_of_memory, unknown


def lookup(kind: str, name: str, table: Mapping[str, str]) -> Callable[..., Any]:
    """Return the function behind a key of ``table`` or behind a reference ``module:function``.

    Args:
        kind: what the table holds, for the error message.
        name: a key of ``table``, or ``package.module:function`` for code outside this package.
        table: name to ``module:function``; strings, so that listing names imports nothing.

    Raises:
        ConfigError: the name is not known, or the reference cannot be imported.
        MemoryError: it cannot be imported for want of memory.

    >>> lookup("codec", "join", {"join": "posixpath:join"})("a", "b")
    'a/b'
    """
    reference = table.get(name, name)
    module_name, colon, function_name = reference.partition(":")
    if not colon:
        raise unknown(kind, name, table)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        if is_out_of_memory(error):
            raise MemoryError from error
        raise ConfigError(
            f"{kind} {name!r} must be importable as module:function, got {error}; "
            "check the spelling and that the module is on the Python path"
        ) from error
    return function  # type: ignore[no-any-return]
