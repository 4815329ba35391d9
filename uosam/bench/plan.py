"""What a benchmark compares: methods, sets and seeds, as a YAML file declares them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from uosam.bench.set import BenchSet, read_set
from uosam.coerce import load_yaml
from uosam.config import Config, find_config, load_config
from uosam.errors import ConfigError, unknown
from uosam.lookup import lookup

METHODS = {"coarse": "uosam.bench.cell:keep_coarse", "uosam": "uosam.bench.cell:refine_uosam"}
"""Methods with a name of their own; all others are references ``module:function``."""

_SUPPLIED = ("backend", "options", "seed", "background")


@dataclass(frozen=True, kw_only=True)
class BenchMethod:
    """A refiner and its settings.

    Attributes:
        name: for tables.
        reference: a key of ``METHODS`` or ``module:function``.
        config: segmenter and stages, for methods that take them.
        settings: further arguments of the function.
    """

    name: str
    reference: str
    config: Config = field(default_factory=Config)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def function(self) -> Callable[..., Any]:
        """Return the function.

        Raises:
            ConfigError: there is none of this name, or its code is not on the Python path.
        """
        return lookup("method", self.reference, METHODS)

    def takes(self, argument: str) -> bool:
        """Tell whether the function has this argument."""
        return argument in inspect.signature(self.function()).parameters


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole benchmark.

    Attributes:
        methods: in the order of the table; "coarse" is always the first.
        sets: in the order of the table.
        seeds: of whatever draws; what draws nothing runs once.
        limit: pictures of each set, in order of name; None for all.
        published: names of published tables that stand beside.
        resamples: draws of the bootstrap.
    """

    methods: tuple[BenchMethod, ...]
    sets: tuple[BenchSet, ...]
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None
    published: tuple[str, ...] = ()
    resamples: int = 1000


def read_tree(
    source: str | Path, known: Sequence[str], *, kind: Literal["bench", "ablate"] = "bench"
) -> tuple[dict[str, Any], Path]:
    """Read a YAML file of named sections, or the packaged plan of that name, with its path.

    Raises:
        ConfigError: no such file, no YAML, or a section that is not known.
    """
    path = find_config(source, kind)
    try:
        tree = load_yaml(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: expected a YAML file, got: {reason}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections, got {type(tree).__name__}")
    for name in tree:
        if name not in known:
            raise unknown(f"section of {path.name}", str(name), known)
    return tree, path


SECTIONS = ("config", "set", "methods", "sets", "seeds", "limit", "published", "resamples")


def read_plan(
    source: str | Path,
    overrides: Sequence[str] = (),
    *,
    methods: Sequence[str] = (),
    sets: Sequence[str] = (),
    limit: int | None = None,
    extra: Sequence[str] = (),
) -> Plan:
    """Read a plan; ``docs/benchmarking.md`` describes the file.

    Args:
        source: YAML file, or the name of a packaged one such as "examples".
        overrides: ``section.key=value`` for the segmenter and stages of every method.
        methods: names to keep; empty for all.
        sets: names to keep; empty for all.
        limit: pictures of each set, in place of the file's own limit.
        extra: sections that somebody else reads.

    Raises:
        ConfigError: the file is no plan, or names what is not there.
    """
    tree, path = read_tree(source, (*SECTIONS, *extra))
    shared = (tree.get("config"), [*_texts(tree, "set"), *overrides])
    declared = {
        str(name): _method(str(name), entry, shared)
        for name, entry in {"coarse": "coarse", **_section(tree, "methods")}.items()
    }
    places = _section(tree, "sets")
    for kind, chosen, names in (("method", methods, declared), ("set", sets, places)):
        for name in chosen:
            if name not in names:
                raise unknown(kind, name, names)
    seeds = tree.get("seeds", [0])
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds)):
        raise ConfigError(f"seeds must be a list of whole numbers such as [0], got {seeds!r}")
    for name in ("limit", "resamples"):
        value = tree.get(name)
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigError(f"{name} must be a whole number above 0, got {value!r}")
    return Plan(
        methods=tuple(m for n, m in declared.items() if not methods or n in (*methods, "coarse")),
        sets=tuple(
            read_set(str(name), entry, path.parent)
            for name, entry in places.items()
            if name in sets or not (sets or (entry or {}).get("optional"))
        ),
        seeds=tuple(seeds),
        limit=limit if limit is not None else tree.get("limit"),
        published=tuple(_texts(tree, "published")),
        resamples=tree.get("resamples", 1000),
    )


def _section(tree: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = tree.get(name) or {}
    if not isinstance(section, dict):
        raise ConfigError(f"{name} must hold 'name: ...' entries, got {section!r}")
    return section


def _texts(tree: Mapping[str, Any], name: str) -> list[str]:
    texts = tree.get(name) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{name} must be a list of texts, got {texts!r}")
    return texts


_METHOD_KEYS = ("function", "config", "set", "settings")


def _method(name: str, entry: Any, shared: tuple[str | None, list[str]]) -> BenchMethod:
    """Build a method from ``reference`` or ``{function, config, set, settings}``."""
    entry = {"function": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("function"), str):
        raise ConfigError(
            f"methods.{name} must be module:function, or a mapping with 'function', got {entry!r}"
        )
    for key in entry:
        if key not in _METHOD_KEYS:
            raise unknown(f"key in methods.{name}", str(key), _METHOD_KEYS)
    overrides = [*shared[1], *_texts(entry, "set")]
    method = BenchMethod(
        name=name,
        reference=entry["function"],
        config=load_config(entry.get("config", shared[0]), overrides),
        settings=entry.get("settings") or {},
    )
    if ":" not in method.reference and method.reference not in METHODS:
        raise unknown("method", method.reference, METHODS)
    return method


def check_settings(method: BenchMethod) -> None:
    """Refuse settings that a method's function does not have.

    Raises:
        ConfigError: the function or an argument is not there.
    """
    known = inspect.signature(method.function()).parameters
    for key in method.settings:
        if key not in known or key in _SUPPLIED:
            own = [name for name in known if name not in (*_SUPPLIED, "image", "coarse")]
            raise unknown(f"setting of method {method.name}", str(key), own)
