"""A folder in a store: names, whole files read, files written at once or not at all."""

from __future__ import annotations

import logging
import os
import re
import secrets
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from uosam.errors import InputError

Result = TypeVar("Result")

TRIES = 5
"""Times that a store is asked for one thing before it counts as failed."""

WAIT = 0.2
"""Seconds before the second try; doubled for each further one."""

WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az", "hf", "memory"})
"""Stores in which a file is there whole or not at all, however it is written."""

ARCHIVES = frozenset({"zip", "tar"})
"""Stores that are read alone."""

BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az"})
"""Stores whose folders need no making, but lie in a bucket that somebody has made."""

_FILES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".gif"),
    *(".npy", ".npz", ".json"),
)

_SCHEME = re.compile(r"\b([a-z][a-z0-9+.]*):/+", re.IGNORECASE)
_NOWHERE = re.compile(rf"({'|'.join(sorted(BUCKETS | {'hf'}))}):/*", re.IGNORECASE)
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

log = logging.getLogger(__name__)


def read_url(path: str | os.PathLike[str]) -> str | None:
    """Return the URL that a path stands for, None for a path of this machine.

    A ``pathlib.Path`` has lost a slash of it.

    Raises:
        InputError: it is the URL of a path of this machine, or names no place in a store.

    >>> read_url("s3:/bucket/a"), read_url("zip://::s3://bucket/a.zip")
    ('s3://bucket/a', 'zip://::s3://bucket/a.zip')
    >>> read_url("photos/a"), read_url("/photos/a:b")
    (None, None)
    """
    text = os.fspath(path)
    if _NOWHERE.fullmatch(text):
        raise InputError(f"{text} names no place; give {text.partition(':')[0]}://BUCKET/FOLDER")
    if not re.match(r"[a-z][a-z0-9+.]+:/+|[a-z]+:/*::", text, re.IGNORECASE):
        return None
    url = _SCHEME.sub(r"\1://", text)
    if url.startswith("file://"):
        plain = "/" + url.removeprefix("file://").lstrip("/")
        raise InputError(f"{url}: paths of this machine go without file://; give {plain}")
    return url


def names_file(path: str | os.PathLike[str]) -> bool:
    """Tell whether a URL is that of a picture, a mask or a table, by its ending.

    >>> names_file("s3://bucket/a.PNG"), names_file("zip://::a.zip"), names_file("s3://b/v1.0")
    (True, False, False)
    >>> names_file("a.png")
    False
    """
    url = read_url(path)
    return url is not None and url.partition("::")[0].lower().endswith(_FILES)


def hide(text: str) -> str:
    """Take names and passwords out of the URLs of a text.

    >>> hide("s3://me:secret@bucket/a: gone")
    's3://bucket/a: gone'
    """
    return re.sub(r"(\w://)[^/@\s]+@", r"\1", text)


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder in a store; a value that travels to workers.

    Attributes:
        url: of the folder, such as ``s3://bucket/photos``, ``zip://::s3://bucket/a.zip`` or
            ``tar://::/data/shard-000.tar``.
        options: for fsspec, such as an endpoint.
    """

    url: str
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _place(self) -> tuple[Any, str]:
        try:
            import fsspec
        except ImportError as error:
            raise InputError(
                f"{self.shown}: URLs need fsspec, got none; pip install 'uosam[remote]'"
            ) from error
        try:
            filesystem, root = fsspec.core.url_to_fs(self.url, **self.options)
        except (ImportError, ValueError) as error:
            known = self.kind in fsspec.available_protocols()
            remedy = "pip install 'uosam[remote]'" if known else "correct what is before ://"
            raise InputError(
                f"{self.shown}: expected a URL that fsspec knows, got: {hide(str(error))}; {remedy}"
            ) from error
        except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise InputError(f"{self.shown}: cannot be opened ({hide(str(error))})") from error
        return filesystem, root.rstrip("/")

    @property
    def kind(self) -> str:
        """Scheme of the URL."""
        return self.url.partition(":")[0].lower()

    @property
    def shown(self) -> str:
        """The URL without a password."""
        return hide(self.url)

    def check_place(self) -> None:
        """Make sure that there can be outputs, before anything is computed for them.

        Raises:
            InputError: the store goes when the process ends, its bucket is not there, or it cannot
                be reached.
        """
        filesystem, root = self._place
        if self.kind == "memory":
            raise InputError(f"{self.shown}: memory:// ends with the command; give another place")
        if self.kind not in BUCKETS:
            return
        bucket = root.partition("/")[0]
        try:
            # A bucket behind a server that does not answer would count as missing.
            there = bool(self.top()) or self._insist("", lambda: filesystem.exists(bucket))
        except PermissionError:  # who may not look may still be allowed to write
            return
        except OSError as error:
            raise InputError(f"{self.shown}: cannot be reached ({hide(str(error))})") from error
        if not there:
            raise InputError(
                f"{self.shown}: there is no bucket {bucket}; make it, or correct the name"
            )

    def names(self) -> Iterator[str]:
        """Yield every file below the folder, as a relative path with "/", in no order.

        Raises:
            InputError: the folder is not there or cannot be listed.
        """
        filesystem, root = self._place
        try:
            found = self._insist("", lambda: filesystem.find(root))
        except OSError as error:
            raise InputError(f"{self.shown}: cannot be listed ({hide(str(error))})") from error
        for path in found:
            if not path.endswith("/"):
                name = path[len(root) :].lstrip("/") if root else path.lstrip("/")
                yield name.removeprefix("./")

    def top(self) -> list[str]:
        """Return the names of the files in the folder itself; none if there is no such folder.

        Raises:
            OSError: the store fails again and again.
        """
        filesystem, root = self._place

        def look() -> list[str]:
            filesystem.invalidate_cache()
            try:
                found = filesystem.ls(root, detail=True)
            except FileNotFoundError:
                return []
            names = (entry["name"].rstrip("/") for entry in found if entry["type"] == "file")
            return sorted(name.rpartition("/")[2] for name in names)

        return self._insist("", look)

    def read(self, name: str) -> bytes:
        """Return a file whole.

        Raises:
            OSError: it is not there, or the store fails again and again; with the URL as its name.
        """
        filesystem, _ = self._place

        def get() -> bytes:
            path = self._path(name)
            data: bytes = filesystem.cat_file(path)
            size = self._size(path)
            if size is not None and len(data) != size:
                filesystem.invalidate_cache(path)
                raise OSError(f"got {len(data)} of {size} bytes")
            return data

        return self._insist(name, get)

    def has(self, name: str) -> bool:
        """Tell whether a file is there.

        Raises:
            OSError: the store fails again and again.
        """
        filesystem, _ = self._place
        return bool(self._insist(name, lambda: filesystem.isfile(self._path(name))))

    def write(self, name: str, data: bytes) -> None:
        """Write a file: whole or not at all, for whoever reads it.

        Object stores do so by themselves; elsewhere it is written beside and renamed.

        Raises:
            OSError: the store fails again and again, or is an archive.
        """
        if self.kind in ARCHIVES:
            raise OSError(30, "archives are read alone", self._say(name))
        filesystem, _ = self._place
        path = self._path(name)

        def put() -> None:
            if self.kind in WHOLE:
                filesystem.pipe_file(path, data)
            else:
                parent = path.rpartition("/")[0]
                temporary = f"{parent}/.uosam-{secrets.token_hex(8)}.tmp"
                filesystem.makedirs(parent, exist_ok=True)
                filesystem.pipe_file(temporary, data)
                filesystem.mv(temporary, path)
            filesystem.invalidate_cache(path)
            size = self._size(path)
            if size is not None and size != len(data):
                raise OSError(f"wrote {len(data)} bytes, {size} arrived")

        self._insist(name, put)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        filesystem, _ = self._place
        try:
            self._insist(name, lambda: filesystem.rm_file(self._path(name)))
        except FileNotFoundError:
            return

    def _size(self, path: str) -> int | None:
        filesystem, _ = self._place
        # The Hub's file system lists a whole folder for less than that.
        more = {"expand_info": True} if self.kind == "hf" else {}
        size: int | None = filesystem.info(path, **more)["size"]
        return size

    def _path(self, name: str) -> str:
        filesystem, root = self._place
        if root or self.kind not in ARCHIVES:
            return f"{root}/{name}" if root else name
        # As "tar -C folder ." calls what it finds there.
        dotted = f"./{name}"
        return dotted if not filesystem.exists(name) and filesystem.exists(dotted) else name

    def _say(self, name: str) -> str:
        return f"{self.shown}/{name}" if name else self.shown

    def _insist(self, name: str, do: Callable[[], Result]) -> Result:
        """Ask again while a store fails in a way that may pass."""
        for attempt in range(TRIES):
            try:
                return do()
            except _FINAL as error:
                error.filename = self._say(name)
                raise
            except Exception as error:  # each store has errors of its own
                reason = " ".join(str(error).split()) or type(error).__name__
                if attempt + 1 == TRIES:
                    raise OSError(5, f"{reason}, {TRIES} times", self._say(name)) from error
                log.info("%s: %s; asking again", self._say(name), reason)
                time.sleep(WAIT * 2**attempt)
        raise AssertionError  # the loop returns or raises
