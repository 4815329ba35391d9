"""``manifest.jsonl``: what is in an output folder, what made it, and what a new run may skip.

The first line tells the settings, weights and version; then one line per picture, in order of name,
with the digests of its inputs and of its output, or the reason why there is none. Nothing in it
depends on time or on the number of workers. While a run is under way its lines stand in
``manifest.partial.jsonl``; that file is what a killed run leaves for the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

import uosam
from uosam.backends import weights_digest
from uosam.config import Config
from uosam.errors import ConfigError, InputError
from uosam.io.atomic import open_own, remove_leftovers, write_atomic
from uosam.structures import Sample

MANIFEST = "manifest.jsonl"
PARTIAL = "manifest.partial.jsonl"

LOOKED_AT = 50
"""Masks that are compared, spread over the folder."""

Row = dict[str, Any]
"""One picture: name; output, status, accepted, rejected and digests, or else error."""

_NOT_DETERMINING = {"checkpoint", "batch_size"}
"""Backend settings that change no mask: the digest of the weights stands for their path."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Journal:
    """The rows of an output folder while a run is under way.

    Attributes:
        out: the output folder.
        header: first line of the manifest.
        rows: by name; those of earlier runs first, then replaced as pictures are done.
        file: the open partial manifest, without a buffer.
    """

    out: Path
    header: Row
    rows: dict[str, Row] = field(default_factory=dict)
    file: FileIO


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


@contextlib.contextmanager
def open_journal(out: Path, header: Row, *, overwrite: bool) -> Iterator[Journal]:
    """Take an output folder for a run; ``finish`` is called last.

    Without it, or after an exception, the partial manifest stays for the next run to go on from,
    unless there is no result yet.

    Args:
        out: made if missing.
        header: of this run.
        overwrite: remove the results of other settings, or of no settings, first.

    Raises:
        ConfigError: the folder holds results of other settings, or files but no manifest, or
            another run is writing into it.
        InputError: the folder cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = FileIO(out / PARTIAL, "a", opener=lambda name, flags: open_own(Path(name), flags))
    except OSError as error:
        raise InputError(f"{out}: output folder cannot be written ({error.strerror})") from error
    with file:
        _lock(file, out)
        remove_leftovers(out)
        try:
            yield _take_over(out, header, file, overwrite=overwrite)
        except BaseException:
            # A run that was refused, or whose model did not load, has no say in what may follow.
            if not file.seek(0, 2) or [path.name for path in out.iterdir()] == [PARTIAL]:
                (out / PARTIAL).unlink()
            raise


def finish(journal: Journal) -> None:
    """Write the manifest in order of name and drop the partial one.

    Raises:
        OSError: it cannot be written; the partial one stays.
    """
    lines = [journal.header, *(journal.rows[name] for name in sorted(journal.rows))]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_atomic(journal.out / MANIFEST, text.encode())
    journal.file.close()
    (journal.out / PARTIAL).unlink()


def record(journal: Journal, row: Row) -> None:
    """Note a picture that is done; a full disk loses the note, never the run."""
    if journal.rows.get(row["name"]) != row:
        journal.rows[row["name"]] = row
        with contextlib.suppress(OSError):
            _append(journal, row)


def read_rows(out: Path) -> tuple[Row | None, dict[str, Row]]:
    """Return the first line and the rows by name of an output folder, finished or not."""
    header: Row | None = None
    rows: dict[str, Row] = {}
    for name in (MANIFEST, PARTIAL):
        for line in _lines(out / name):
            # A line that a killed run or a full disk cut short says nothing: its picture is redone.
            with contextlib.suppress(ValueError, RecursionError):
                row = json.loads(line)
                if not isinstance(row, dict):
                    continue
                if isinstance(row.get("settings"), dict):
                    header = row
                elif isinstance(row.get("name"), str) and isinstance(row.get("output", ""), str):
                    rows[row["name"]] = row
    return header, rows


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def _append(journal: Journal, row: Row) -> None:
    # The line break comes first, so that a line cut short spoils no other.
    journal.file.write(f"\n{json.dumps(row)}".encode())


def _take_over(out: Path, header: Row, file: FileIO, *, overwrite: bool) -> Journal:
    """Keep the rows of earlier runs that still count, or refuse the folder."""
    old, rows = read_rows(out)
    if overwrite and old != header:
        _remove_results(out, rows)
        file.truncate(0)
        old, rows = header, {}
    elif old is None:
        for path in out.iterdir():
            if path.name != PARTIAL and not path.name.startswith("."):
                raise ConfigError(
                    f"{out} is not empty and holds no {MANIFEST} (found {path.name}); "
                    "give an empty or new output folder, or --overwrite to write into it"
                )
    elif old != header:
        changes = [
            f"{key} was {before!r}, now {after!r}"
            for key, before, after in _differences(_flat(old), _flat(header))
        ]
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise ConfigError(
            f"{out} holds results of other settings ({'; '.join(changes[:3])}{more}); "
            "give another output folder, or --overwrite to replace them"
        )
    # What failed before is tried again, or is no longer among the pictures.
    good = {name: row for name, row in rows.items() if "output" in row}
    journal = Journal(out=out, header=header, rows=good, file=file)
    try:
        _append(journal, header)
    except OSError as error:
        raise InputError(f"{out}: output folder cannot be written ({error.strerror})") from error
    return journal


def _flat(header: Row) -> Row:
    return {**{k: v for k, v in header.items() if k != "settings"}, **header["settings"]}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key, "not there"), new.get(key, "not there")
        if before != after:
            yield key, before, after


def _remove_results(out: Path, rows: Mapping[str, Row]) -> None:
    """Remove what the manifests of ``out`` list, and the finished one; never anything else."""
    for row in rows.values():
        path = out / row.get("output", "")
        with contextlib.suppress(ValueError):  # a name that no file can have
            if path.is_file() and path.parent.resolve().is_relative_to(out.resolve()):
                path.unlink()
    (out / MANIFEST).unlink(missing_ok=True)


def _lock(file: FileIO, out: Path) -> None:
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
    _, rows = read_rows(out)
    known = [
        (sample.coarse, rows[sample.name]["mask_sha256"])
        for sample in samples
        if sample.coarse is not None and "mask_sha256" in rows.get(sample.name, {})
    ]
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
