"""A folder as one archive: made when a run has ended, taken apart when the next one begins."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from uosam.errors import InputError
from uosam.io.atomic import replacing
from uosam.io.stores.store import Store, read_url

ASIDE = "__uosam__"
"""Folder of a run's notes in an archive; readers of WebDataset pass over names of this form."""

_NOTES = ("manifest.jsonl", "config.yaml", "summary.json")

_ENDINGS = (".zip", ".tar")

_PACKED = (".gz", ".bz2", ".xz", ".tgz")


def check_archive(url: str) -> str:
    """Return the path or URL of the file that is to hold an archive.

    Raises:
        InputError: a folder inside of an archive, one that is compressed as a whole, or one with
            the ending of another kind.

    >>> check_archive("tar://::s3://bucket/shard-000.tar")
    's3://bucket/shard-000.tar'
    """
    inner, _, file = url.partition("::")
    kind = inner.partition(":")[0].lower()
    if inner.partition("://")[2].strip("/") or not file or "::" in file:
        raise InputError(f"{url}: an archive is written whole; give {kind}://::FILE.{kind}")
    if file.lower().endswith(_PACKED):
        raise InputError(
            f"{url}: archives are written uncompressed; give a name that ends in .{kind}"
        )
    if file.lower().endswith(_ENDINGS) and not file.lower().endswith(f".{kind}"):
        raise InputError(f"{url}: a {kind} archive ends in .{kind}; correct one of both")
    return file


def check_plain(path: Path) -> Path:
    """Return a path of this machine, unless it is that of an archive without its scheme.

    Raises:
        InputError: it ends in ``.zip`` or ``.tar`` and is no folder.
    """
    if path.suffix.lower() in _ENDINGS and not path.is_dir():
        kind = path.suffix.lower().lstrip(".")
        raise InputError(f"{path}: an archive is given as {kind}://::{path}")
    return path


def pack(folder: Path, url: str) -> None:
    """Write all files of a folder into the archive of a URL, whole or not at all.

    The bytes depend on names and contents alone. Names come in order, so that the files of one
    sample of WebDataset lie together, and what a run notes of itself comes last, below ``ASIDE``.

    Raises:
        InputError: as ``check_archive``.
        OSError: it cannot be written.
    """
    file = check_archive(url)
    write = _zip if url.lower().startswith("zip") else _tar
    if read_url(file) is None:
        with replacing(Path(file)) as stream:
            write(folder, stream)
        return
    with tempfile.TemporaryFile(dir=folder.parent) as stream:
        write(folder, stream)
        stream.seek(0)
        place, _, name = file.rpartition("/")
        Store(url=place).write(name, stream.read())


def unpack(url: str, folder: Path) -> None:
    """Make a folder with what ``pack`` put into an archive; an empty one if there is no archive.

    Raises:
        InputError: as ``check_archive``, or there is a file that is no archive.
        OSError: it cannot be read.
    """
    file = check_archive(url)
    whole = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        if _is_there(file):
            store = Store(url=url)
            for name in store.names():
                place = whole / name.removeprefix(f"{ASIDE}/")
                if not place.resolve().is_relative_to(whole.resolve()):
                    raise InputError(f"{url}: {name} leads out of the archive; make it anew")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(store.read(name))
        os.rename(whole, folder)
    except BaseException:
        shutil.rmtree(whole, ignore_errors=True)
        raise


def _is_there(file: str) -> bool:
    if read_url(file) is None:
        return Path(file).is_file()
    place, _, name = file.rpartition("/")
    return Store(url=place).has(name)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield names in the archive and files, in the order in which they are packed."""
    found = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    for name in sorted(found, key=lambda name: name in _NOTES):
        yield (f"{ASIDE}/{name}" if name in _NOTES else name), folder / name


def _tar(folder: Path, stream: IO[bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in _files(folder):
            entry = tarfile.TarInfo(name)
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)


def _zip(folder: Path, stream: IO[bytes]) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        for name, path in _files(folder):
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
