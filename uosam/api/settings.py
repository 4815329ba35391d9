"""Settings given as keyword arguments, by the names of their YAML keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from uosam.config import Config, build_config, read_changes
from uosam.errors import ConfigError, unknown

_OF_FOLDERS = ("workers", "overwrite", "overlay", "confidence", "manifest")
"""Settings of the section "engine" that mean nothing where no folder is worked through."""


def settle(config: str | os.PathLike[str] | Config | None, options: Mapping[str, Any]) -> Config:
    """Apply keyword arguments to a configuration.

    Args:
        config: YAML file, name of a packaged one, settings, or None for the defaults.
        options: by key, by ``section.key``, or by section with a mapping of its keys.

    Raises:
        ConfigError: a setting is unknown, out of range, or only for folders.
    """
    start, source = None, None
    if isinstance(config, Config):
        start = config
    elif config is not None:
        source = os.fspath(config)
    known = {name: [f.name for f in fields(part)] for name, part in Config().sections().items()}
    changes = read_changes(source, ())
    for name, value in options.items():
        if name in known:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name} must be a mapping of its keys, got {value!r}")
            changes.setdefault(name, {}).update(value)
        else:
            section, key = _find_key(name, known)
            changes.setdefault(section, {})[key] = value
    for key in changes.get("engine", {}):
        if key in _OF_FOLDERS and source is None:
            raise ConfigError(f"engine.{key} is for folders; use the command uosam refine")
    return build_config(changes, start)


def _find_key(name: str, known: Mapping[str, list[str]]) -> tuple[str, str]:
    """Find the section of a key given as ``key``, or split ``section.key``."""
    section, dot, key = name.partition(".")
    if dot:
        return section, key
    places = [section for section, keys in known.items() if name in keys]
    if not places:
        raise unknown("setting", name, [key for keys in known.values() for key in keys])
    if len(places) > 1:
        first = places[0]
        raise ConfigError(
            f"{name!r} is a key of the sections {', '.join(places)}; name one, such as "
            f"{first}={{{name!r}: ...}}"
        )
    return places[0], name
