"""Every program of ``benchmarks`` can be started: what it imports is still there."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import benchmarks

PROGRAMS = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))


@pytest.mark.parametrize("name", PROGRAMS)
def test_imported(name: str) -> None:
    assert importlib.import_module(f"benchmarks.{name}").__doc__
