"""Make the manifest and the summary of a whole run of those of its shards."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uosam.errors import ConfigError, InputError
from uosam.io.atomic import write_atomic
from uosam.io.stores.mounts import pull, push, release
from uosam.runs.journal import (
    finish,
    manifest_path,
    open_journal,
    read_folder,
    refuse_others,
    refuse_settings,
)
from uosam.runs.manifest import MANIFEST, NOTES, find_manifests
from uosam.runs.spread.shard import NAMED, Shard

SUMMARY = "summary.json"

_FIRST = ("uosam", "weights", "settings", "python", "machine")
"""Entries of a summary that are the same in all shards, or of which one is as good as another."""


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merged manifest holds.

    Attributes:
        shards: how many there were.
        status: pictures by what became of them.
        failures: reason by name.
    """

    shards: int
    status: Mapping[str, int]
    failures: Mapping[str, str]


def merge_manifests(out: Path) -> Merged:
    """Write ``manifest.jsonl`` and ``summary.json`` of an output folder from those of its shards.

    The manifest has the bytes that a run without shards would have written. The files of the shards
    are removed, and what killed ones left half-written.

    Args:
        out: output folder of a run with ``--shard``, all of whose shards have finished.

    Raises:
        InputError: there is no such folder, or none of its manifests is of a shard.
        ConfigError: a shard has not finished, or is under way, or shards had other settings.
    """
    if not out.is_dir():
        raise InputError(f"{out}: expected the output folder of a run with --shard, found none")
    try:
        noted = pull(out, NOTES)
    except OSError as error:
        raise InputError(f"{out}: cannot be read ({error.strerror})") from error
    count = _complete(out)
    refuse_others(out, None)
    headers, _ = read_folder(out)
    if not headers:
        raise InputError(f"{out}: manifests of shards without a line about settings; run again")
    for header in headers[1:]:
        if header != headers[0]:
            refuse_settings(out, headers[0], header)
    shards = [Shard(number=number, count=count) for number in range(1, count + 1)]
    finished = {manifest_path(out, shard) for shard in shards}
    summaries = [
        summary for shard in shards if (summary := _read(out / f"summary{shard.suffix}.json"))
    ]
    status: Counter[str] = Counter()
    failures = {}
    with open_journal(out, headers[0], overwrite=False) as journal:
        journal.earlier = [
            replace(span, failures=span.path in finished) for span in journal.earlier
        ]
        for row in journal.rows():
            if "error" in row:
                failures[row["name"]] = str(row["error"])
            else:
                status[str(row.get("status"))] += 1
        finish(journal)
    if summaries:
        text = json.dumps(add_summaries(summaries), indent=2) + "\n"
        write_atomic(out / SUMMARY, text.encode())
    gone = [name for name in noted if not (out / name).exists()]
    push(out, [MANIFEST, SUMMARY], gone=gone)
    release([out / MANIFEST, out / SUMMARY])
    return Merged(shards=count, status=dict(sorted(status.items())), failures=failures)


def add_summaries(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add the figures of shards; ``wall`` is that of the longest.

    >>> add_summaries([{"refined": 2, "wall": 3.0}, {"refined": 1, "wall": 5.0}])
    {'refined': 3, 'wall': 5.0}
    """
    total: dict[str, Any] = {}
    for summary in summaries:
        for key, value in summary.items():
            if key not in total or key in _FIRST:
                total.setdefault(key, value)
            elif key == "wall":
                total[key] = max(total[key], value)
            else:
                total[key] = _add(total[key], value)
    return total


def _add(one: Any, other: Any) -> Any:
    """Add numbers, join lists without saying anything twice, and do so for each entry of a table.

    >>> _add({"a": 1, "b": ["x"]}, {"b": ["x", "y"], "c": "why"})
    {'a': 1, 'b': ['x', 'y'], 'c': 'why'}
    """
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        both = {key: _add(one[key], other[key]) for key in one if key in other}
        return {**one, **other, **both}
    if isinstance(one, list) and isinstance(other, list):
        return list(dict.fromkeys([*one, *other]))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one + other
    return one


def _complete(out: Path) -> int:
    """Return into how many shards the run was cut, all of which are finished."""
    finished: dict[int, set[int]] = {}
    stopped: dict[int, set[int]] = {}
    for path in find_manifests(out):
        found = NAMED.fullmatch(path.name)
        if found:
            where = stopped if found[3] else finished
            where.setdefault(int(found[2]), set()).add(int(found[1]))
    if not finished and not stopped:
        merged = "; it was merged already" if (out / MANIFEST).is_file() else ""
        raise InputError(f"{out}: expected manifests of shards, found none{merged}")
    lacking = {
        count: sorted(
            {*range(1, count + 1)} - finished.get(count, set()) | stopped.get(count, set())
        )
        for count in {*finished, *stopped}
    }
    count = min(lacking, key=lambda count: (len(lacking[count]), count))
    if lacking[count]:
        missing = [f"{number}/{count}" for number in lacking[count]]
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ConfigError(
            f"{out}: all {count} shards must have finished, got none of {', '.join(missing[:5])}"
            f"{more}; run the same command again with --shard {missing[0]}"
        )
    return count


def _read(path: Path) -> dict[str, Any] | None:
    """Read the summary of a shard; a run that could not write it says nothing of its figures."""
    with contextlib.suppress(OSError, ValueError):
        read = json.loads(path.read_bytes())
        if isinstance(read, dict):
            return read
    return None
