"""Keep account of a run under way: what earlier runs have done, and every picture as it is done.

No row stays in memory. What is done is appended to the partial manifest, which is merged with what
earlier runs left when the run ends.
"""

from __future__ import annotations

import contextlib
import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import IO, Any

from uosam.errors import ConfigError, InputError
from uosam.io.atomic import open_own, remove_leftovers, replacing
from uosam.io.stores.mounts import find_store
from uosam.runs.manifest import MANIFEST, PARTIAL, find_manifests
from uosam.runs.rows import Lookup, Row, Span, encode_rows, find_spans, merge
from uosam.runs.spread.shard import NAMED, Shard


@dataclass(eq=False, kw_only=True)
class Journal:
    """What is known of an output folder while a run is under way.

    Attributes:
        out: the output folder.
        header: first line of the manifest.
        shard: which part of the run this is; None if it is all of it.
        file: the open partial manifest, without a buffer.
        earlier: what earlier runs left, the older first.
        start: byte of the partial manifest from which on the lines are this run's.
        seen: pictures that have come by.
        unwritten: lines that a full disk did not take.
    """

    out: Path
    header: Row
    shard: Shard | None
    file: FileIO
    earlier: Sequence[Span]
    start: int
    seen: int = 0
    unwritten: dict[str, Row] = field(default_factory=dict)

    @cached_property
    def _done(self) -> Lookup:
        return Lookup(lambda: merge(self.earlier, self._takes))

    def _takes(self, name: str) -> bool:
        return self.shard is None or self.shard.takes(name)

    def find(self, name: str) -> Row | None:
        """Return what an earlier run has noted of a picture; names are asked for in order."""
        return self._done.find(name)

    def rows(self) -> Iterator[Row]:
        """Yield what the manifest will hold, in order of name.

        What failed before has been tried again, or is no longer among the pictures.
        """
        _, spans = find_spans(partial_path(self.out, self.shard), start=self.start)
        own = [replace(span, failures=True) for span in spans]
        lost = ((name, 0, row) for name, row in sorted(self.unwritten.items()))
        kept = ((row["name"], 1, row) for row in merge([*self.earlier, *own], self._takes))
        last: str | None = None
        for name, _, row in heapq.merge(lost, kept):
            if name != last:
                yield row
            last = name


def manifest_path(out: Path, shard: Shard | None) -> Path:
    """Return where the manifest of a finished run lies."""
    return out / (MANIFEST if shard is None else f"manifest{shard.suffix}.jsonl")


def partial_path(out: Path, shard: Shard | None) -> Path:
    """Return where the lines of a run under way stand."""
    return out / (PARTIAL if shard is None else f"manifest{shard.suffix}.partial.jsonl")


@contextlib.contextmanager
def open_journal(
    out: Path, header: Row, *, overwrite: bool, shard: Shard | None = None
) -> Iterator[Journal]:
    """Take an output folder for a run; ``finish`` is called last.

    Without it, or after an exception, the partial manifest stays for the next run to go on from,
    unless there is no result yet. Shards of one run share a folder.

    Args:
        out: made if missing.
        header: of this run.
        overwrite: remove the results of other settings, or of no settings, first.
        shard: which part of the run this is.

    Raises:
        ConfigError: the folder holds results of other settings, or files but no manifest; another
            run is writing into it; or a shard is to overwrite, beside which others may be at work.
        InputError: the folder cannot be made or written.
    """
    if overwrite and shard is not None:
        raise ConfigError(
            "--overwrite would remove what other shards have done; remove the output folder, or "
            "give another one"
        )
    partial = partial_path(out, shard)
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = FileIO(partial, "a", opener=lambda name, flags: open_own(Path(name), flags))
    except OSError as error:
        raise InputError(f"{out}: output folder cannot be written ({error.strerror})") from error
    with file:
        _lock(file, out)
        refuse_others(out, shard)
        if shard is None:
            remove_leftovers(out)
        journal: Journal | None = None
        try:
            journal = _take_over(out, header, file, shard, overwrite=overwrite)
            yield journal
            if shard is None:  # of workers and actors that were killed while they wrote
                remove_leftovers(out)
        except BaseException:
            # A run that was refused, or whose model did not load, has no say in what may follow.
            alone = [path.name for path in out.iterdir()] == [partial.name]
            if find_store(out) is not None:  # its results lie elsewhere
                alone = journal is None or not (journal.seen or journal.earlier)
            if not file.seek(0, 2) or alone:
                partial.unlink()
            raise


def finish(journal: Journal) -> None:
    """Write the manifest in order of name and drop the partial one.

    Raises:
        OSError: it cannot be written; the partial one stays.
    """
    with replacing(manifest_path(journal.out, journal.shard)) as file:
        for line in encode_rows([journal.header]):
            file.write(line)
        for line in encode_rows(journal.rows()):
            file.write(line)
    journal.file.close()
    partial_path(journal.out, journal.shard).unlink()
    if journal.shard is None:  # what shards have done stands in the manifest now
        drop_shards(journal.out)


def record(journal: Journal, row: Row) -> None:
    """Note a picture that is done; a full disk loses the note for the next run, never for this."""
    try:
        _append(journal.file, row)
    except OSError:
        journal.unwritten[row["name"]] = row


def drop_shards(out: Path) -> None:
    """Remove the manifests and summaries of shards, which stand in those of the whole run."""
    for path in find_manifests(out):
        if NAMED.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.with_name(path.name.replace("manifest", "summary", 1)).with_suffix(
                    ".json"
                ).unlink(missing_ok=True)
                path.unlink()


def refuse_others(out: Path, shard: Shard | None) -> None:
    """Refuse a folder in which a whole run is at work, or, for a whole run, any shard.

    Raises:
        ConfigError: one is.
    """
    own = partial_path(out, shard)
    for path in find_manifests(out):
        named = NAMED.fullmatch(path.name)
        unlike = path.name == PARTIAL or (shard is None and named is not None and named[3])
        if path != own and unlike:
            with contextlib.suppress(OSError), path.open("r+b") as file:
                _lock(file, out)


def _append(file: FileIO, row: Row) -> None:
    # The line break comes first, so that a line cut short spoils no other.
    file.write(f"\n{json.dumps(row)}".encode())


def _take_over(
    out: Path, header: Row, file: FileIO, shard: Shard | None, *, overwrite: bool
) -> Journal:
    """Keep the rows of earlier runs that still count, or refuse the folder."""
    headers, spans = read_folder(out)
    others = [old for old in headers if old != header]
    if overwrite and (others or not headers):
        _remove_results(out, merge(spans))
        file.truncate(0)
        spans = []
    elif others:
        refuse_settings(out, others[0], header)
    elif not headers:
        known = {path.name for path in find_manifests(out)}
        beside = known != {Path(str(file.name)).name}  # that of a shard which has just begun
        for path in () if beside else out.iterdir():
            if path.name not in known and not path.name.startswith("."):
                raise ConfigError(
                    f"{out} is not empty and holds no {MANIFEST} (found {path.name}); "
                    "give an empty or new output folder, or --overwrite to write into it"
                )
    try:
        _append(file, header)
    except OSError as error:
        raise InputError(f"{out}: output folder cannot be written ({error.strerror})") from error
    return Journal(
        out=out, header=header, shard=shard, file=file, earlier=spans, start=file.seek(0, 2)
    )


def read_folder(out: Path) -> tuple[list[Row], list[Span]]:
    """Return the settings in an output folder, and what its manifests hold, the older first."""
    found = [find_spans(path) for path in find_manifests(out)]
    headers = [header for header, _ in found if header is not None]
    return headers, [span for _, spans in found for span in spans]


def read_rows(out: Path) -> tuple[Row | None, dict[str, Row]]:
    """Return the settings and all rows by name of an output folder, finished or not."""
    headers, spans = read_folder(out)
    rows = merge([replace(span, failures=True) for span in spans])
    return headers[-1] if headers else None, {row["name"]: row for row in rows}


class OtherResultsError(ConfigError):
    """A folder holds results of other settings; ``what`` says which, without a remedy."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; give another output folder, or --overwrite to replace them")
        self.what = what


def refuse_settings(out: Path, old: Row, new: Row) -> None:
    """Refuse to mix results.

    Raises:
        OtherResultsError: always; what differs, and what to do.
    """
    changes = [
        f"{key} was {before!r}, now {after!r}"
        for key, before, after in _differences(_flat(old), _flat(new))
    ]
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    listed = "; ".join(changes[:3])
    raise OtherResultsError(f"{out} holds results of other settings ({listed}{more})")


def _flat(header: Row) -> Row:
    return {**{k: v for k, v in header.items() if k != "settings"}, **header["settings"]}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key, "not there"), new.get(key, "not there")
        if before != after:
            yield key, before, after


def _remove_results(out: Path, rows: Iterator[Row]) -> None:
    """Remove what the manifests of ``out`` list, and the finished ones; never anything else."""
    for row in rows:
        path = out / row.get("output", "")
        with contextlib.suppress(ValueError):  # a name that no file can have
            if path.is_file() and path.parent.resolve().is_relative_to(out.resolve()):
                path.unlink()
    (out / MANIFEST).unlink(missing_ok=True)
    drop_shards(out)


def _lock(file: IO[Any] | FileIO, out: Path) -> None:
    """Keep a second run out of the folder, where the system can."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"another run is writing into {out}; wait for it, or give another output folder"
        ) from error
    except OSError:  # a file system without locks
        return
