"""``manifest.jsonl``: what is in an output folder, what made it, and what a new run may skip.

The first line tells the settings, weights and version; then one line per picture, in order of name,
with the digests of its inputs and of its output, or the reason why there is none. Nothing in it
depends on time or on the number of workers. While a run is under way its lines stand in
``manifest.partial.jsonl``; that file is what a killed run leaves for the next one. A shard of a run
has files of its own, such as ``manifest.shard-03-of-16.jsonl``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uosam
from uosam.backends import weights_digest
from uosam.config import Config
from uosam.errors import ConfigError
from uosam.runs.rows import Lookup, Row, find_spans, merge
from uosam.runs.spread.shard import NAMED
from uosam.structures import Sample

MANIFEST = "manifest.jsonl"
PARTIAL = "manifest.partial.jsonl"
NOTES = ("manifest*.jsonl", "summary.shard-*.json")
"""What a run, or a shard of one, leaves for the next."""

LOOKED_AT = 50
"""Masks that are compared, spread over the folder."""

_NOT_DETERMINING = {"checkpoint", "batch_size"}
"""Backend settings that change no mask: the digest of the weights stands for their path."""


def make_header(config: Config) -> Row:
    """Return everything that determines a refined mask, besides the picture and the coarse mask."""
    settings: dict[str, Any] = {
        f"{section}.{key}": value
        for section, options in config.sections().items()
        for key, value in asdict(options).items()
        if section != "engine" and not (section == "backend" and key in _NOT_DETERMINING)
    }
    # Where scores and depth lie determines nothing; each row has the digests of its own.
    settings["labels.scores"] = config.labels.scores is not None
    settings["depth.folder"] = config.depth.folder is not None
    weights = weights_digest(config.backend)
    header = {"uosam": uosam.__version__, "weights": weights, "settings": settings}
    # Through JSON and back, so that a tuple equals the list that will be read from the file.
    return {str(k): v for k, v in json.loads(json.dumps(header)).items()}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_manifests(out: Path) -> list[Path]:
    """Return the manifests of a folder, those of shards and of runs under way too, oldest first."""
    shards = (path for path in out.glob("manifest.shard-*.jsonl") if NAMED.fullmatch(path.name))
    first = [path for path in (out / MANIFEST,) if path.is_file()]
    last = [path for path in (out / PARTIAL,) if path.is_file()]
    return [*first, *sorted(shards, key=_age), *last]


def _age(path: Path) -> tuple[int, str]:
    with contextlib.suppress(OSError):  # its run has just ended
        return path.stat().st_mtime_ns, path.name
    return 0, path.name


def refuse_other_masks(out: Path, samples: Sequence[Sample]) -> None:
    """Refuse an output folder whose results are of other masks of the same names.

    A few masks that changed since are redone, as ever. If most of them differ, they are most
    likely those of another folder or another model.

    Args:
        out: folder of an earlier run, or none yet.
        samples: of this run.

    Raises:
        ConfigError: more than half of the masks that have a result are other files now.
    """
    if not out.is_dir():
        return
    spans = [span for path in find_manifests(out) for span in find_spans(path)[1]]
    rows = Lookup(lambda: merge(spans))
    known = []
    for sample in samples if spans else ():
        digest = (rows.find(sample.name) or {}).get("mask_sha256")
        if sample.coarse is not None and digest is not None:
            known.append((sample.coarse, digest))
    known = known[:: max(1, len(known) // LOOKED_AT)]
    changed: list[Path] = []
    for path, digest in known:
        with contextlib.suppress(OSError):  # told when its turn comes
            if file_digest(path) != digest:
                changed.append(path)
    if 2 * len(changed) > len(known):
        raise ConfigError(
            f"{out} holds results of other masks of the same names: {len(changed)} of {len(known)} "
            f"looked at differ, such as {changed[0]}; give another output folder, or --overwrite "
            "to replace them"
        )
