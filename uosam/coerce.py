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


class _Loader(yaml.SafeLoader):
    """YAML of plain values: a date is a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in pairs if not tag.endswith(":timestamp")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_MOST_VALUES = 100_000
"""Values that a YAML text may hold once its aliases are written out."""


def load_yaml(text: str) -> Any:
    """Read YAML as dicts, lists, texts, numbers, booleans and None.

    Raises:
        YAMLError: it is no YAML, too deep, grows beyond bounds by its aliases, refers to itself, or
            holds other kinds of values.

    >>> load_yaml("a: [1, 2024-01-31]")
    {'a': [1, '2024-01-31']}
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > _MOST_VALUES:
            raise yaml.YAMLError("its aliases stand for more values than settings can have")
        value = loader.construct_document(node)
        _check_plain(value)
        return value
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except (ValueError, OverflowError, TypeError) as error:
        raise yaml.YAMLError(str(error)) from error
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values below a node, those of aliases each time; an alias of itself has no end."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _MOST_VALUES + 1
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        parts = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        parts = node.value
    known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]


def _check_plain(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(key)
            _check_plain(item)
    elif isinstance(value, list):
        for item in value:
            _check_plain(item)
    elif not isinstance(value, (str, int, float, bool, type(None))):
        raise yaml.YAMLError(f"a {type(value).__name__} is no setting")


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
            candidates = [load_yaml(value), str(value)]
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
