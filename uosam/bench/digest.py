"""What determines a cell of a benchmark, as digests: data, code and settings."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import uosam
from uosam.backends import BACKENDS
from uosam.bench.plan import METHODS, BenchMethod
from uosam.bench.set import BenchSet
from uosam.config import config_folder
from uosam.io.depth import find_depth
from uosam.runs.manifest import file_digest, make_header
from uosam.structures import Sample

_COUNTED_BY = "uosam.metrics.counts"


def cell_key(method: BenchMethod, data: BenchSet, inputs: str, seed: int | None) -> dict[str, Any]:
    """Return everything that determines a cell, as plain values.

    Only what the method takes counts: a segmenter's settings and weights are no part of GrabCut's
    cells.

    Args:
        method: that fills the cell.
        data: set that it works on.
        inputs: digest of the files, as from ``inputs_digest``.
        seed: given to the method, or None if it draws nothing.
    """
    header = make_header(method.config) if method.takes("backend") else {}
    kept: tuple[str, ...] = ("",) if method.takes("options") else ("backend.",)
    kept += ("depth.",) if method.takes("guide") else ()
    settings = {
        key: value
        for key, value in header.get("settings", {}).items()
        if key.startswith(kept) and not key.startswith("labels.")
    }
    modules = [METHODS.get(method.reference, method.reference).partition(":")[0], _COUNTED_BY]
    if method.takes("backend"):
        name = method.config.backend.name
        modules.append(BACKENDS.get(name, name).partition(":")[0])
    key = {
        "uosam": uosam.__version__,
        "method": method.reference,
        "source": source_digest(modules),
        "settings": {**settings, **method.settings},
        "weights": header.get("weights", "none"),
        "inputs": inputs,
        "background": [data.background, data.coarse_background],
        "ignore": data.ignore,
        "seed": seed,
    }
    return {str(k): v for k, v in json.loads(json.dumps(key, default=str)).items()}


def fingerprint(key: dict[str, Any]) -> str:
    """Return a short digest of a cell's key; the order of its entries does not matter."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def inputs_digest(samples: Sequence[Sample], depth: Path | None = None) -> str:
    """Return a digest of names and contents of every file of a set.

    Args:
        samples: pictures with coarse mask and ground truth.
        depth: folder of depth files beside them, or None.
    """
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.name.encode(errors="surrogateescape") + b"\0")
        beside = (find_depth(depth, sample.name),) if depth else ()
        for path in (sample.image, sample.coarse, sample.target, *beside):
            digest.update((file_digest(path) if path else "none").encode())
    return digest.hexdigest()


def source_digest(modules: Iterable[str]) -> str:
    """Return a digest of the code of modules and of all they import from their own packages.

    Packages are the first parts of the modules' names and this one; numbers that lie as JSON
    beside a module belong to it, and to ``uosam.config`` the packaged YAML files.
    """
    modules = list(modules)
    roots = {"uosam", *(name.partition(".")[0] for name in modules)}
    files: dict[str, Path] = {}
    waiting = modules
    while waiting:
        name = waiting.pop()
        if name in files or name.partition(".")[0] not in roots:
            continue
        path = _file_of(name)
        if path is not None:
            files[name] = path
            waiting += _imports(path)
    beside = {json_file for path in files.values() for json_file in path.parent.glob("*.json")}
    if "uosam.config" in files:
        beside |= set(config_folder().glob("*.yaml"))
    digest = hashlib.sha256()
    for _, path in sorted(files.items()):
        digest.update(file_digest(path).encode())
    for path in sorted(beside):
        digest.update(file_digest(path).encode())
    return digest.hexdigest()


def _file_of(name: str) -> Path | None:
    """Return the source file of a module; None for a name that is none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
