"""Fit a value from YAML or the command line to the type that a dataclass field declares."""

from __future__ import annotations

import contextlib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import yaml

from uosam.errors import ConfigError


class Text(str):
    """The value of an override: YAML where that fits, else the bare text (a file called 007)."""


def convert(value: Any, kind: Any, where: str) -> Any:
    """Return ``value`` as ``kind``.

    Args:
        value: from YAML, or Text.
        kind: as declared: bool, int, float, str, None, Literal, tuple, Mapping, or a union of them.
        where: name of the setting, for the message.

    Raises:
        ConfigError: what was expected, and what came.
    """
    candidates = [value]
    if isinstance(value, Text):
        try:
            candidates = [yaml.safe_load(value), str(value)]
        except yaml.YAMLError:
            candidates = [str(value)]
    for candidate in candidates:
        try:
            return _fit(candidate, kind)
        except TypeError:
            continue
    raise ConfigError(f"{where} must be {_describe(kind)}, got {value!r}")


def _fit(value: Any, kind: Any) -> Any:
    """Return ``value`` as ``kind``; never true for 1 or the other way round.

    Raises:
        TypeError: it is something else.

    >>> _fit("1e-4", float | None), _fit([1, 2], tuple[float, ...])
    (0.0001, (1.0, 2.0))
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        for member in arguments:
            with contextlib.suppress(TypeError):
                return _fit(value, member)
    elif origin is typing.Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
    elif origin is Mapping and isinstance(value, Mapping):
        return {_fit(key, arguments[0]): _fit(item, arguments[1]) for key, item in value.items()}
    elif origin is tuple and isinstance(value, (list, tuple)):
        if arguments[-1] is Ellipsis:
            return tuple(_fit(item, arguments[0]) for item in value)
        if len(arguments) == len(value):
            return tuple(_fit(*pair) for pair in zip(value, arguments, strict=True))
    elif kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):  # PyYAML reads 1e-4 as text
            number = float(value)
            if not math.isnan(number):  # which would pass every check of a range
                return number
    elif (
        isinstance(kind, type)
        and isinstance(value, kind)
        and (kind is bool or not isinstance(value, bool))
    ):
        return value
    raise TypeError


def _describe(kind: Any) -> str:
    """Name a type as a person would.

    >>> _describe(int | typing.Literal["default", "none"])
    "int, 'default' or 'none'"
    """
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        names = [repr(choice) for choice in arguments]
    elif typing.get_origin(kind) in (typing.Union, types.UnionType):
        names = ", ".join(_describe(member).replace(" or ", ", ") for member in arguments).split(
            ", "
        )
    elif typing.get_origin(kind) is tuple:
        return f"a list of {_describe(arguments[0])}"
    elif typing.get_origin(kind) is Mapping:
        return f"a table of {_describe(arguments[1])}"
    else:
        return "null" if kind is type(None) else str(getattr(kind, "__name__", kind))
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
