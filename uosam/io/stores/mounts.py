"""Stores as folders of this machine: a file is fetched when it is needed and then let go.

``mount`` gives a folder for a URL. Paths below it are handled like any others; before a file is
read it is fetched, what is written is sent, and ``release`` removes the copy. A run's own account
of itself lies in that folder while the run is under way.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePath, PurePosixPath

from uosam.io.atomic import write_atomic
from uosam.io.stores.archives import check_archive, check_plain, unpack
from uosam.io.stores.store import ARCHIVES, Store, hide, read_url

_mounts: dict[str, Store] = {}
"""Of this process: folder and store."""

_kept: set[str] = set()
"""Folders of outputs."""

_boxes: dict[str, str] = {}
"""Folders of outputs that become archives."""

_urls: dict[str, str] = {}
"""What folders stand for, of whatever kind."""


def mount(path: Path, *, keep: bool = False) -> Path:
    """Return a folder that stands for a URL; any other path is returned as it is.

    Copies lie below ``UOSAM_STAGING``, or the folder for temporary files.

    Args:
        path: maybe a URL, as ``pathlib`` spells it.
        keep: whether the folder outlives this process, for a run to find its notes again. One
            that is to become an archive is then a folder like any other, until ``deliver``.

    Raises:
        InputError: an archive without its scheme, or one that is none; or a place that cannot keep.
    """
    url = read_url(path)
    if url is None:
        return check_plain(path)
    if keep:
        folder = Path(_base(), hashlib.sha256(url.encode()).hexdigest()[:16])
        if str(folder) in _kept or str(folder) in _boxes:
            return folder
        if url.partition(":")[0].lower() in ARCHIVES:
            check_archive(url)
            with contextlib.suppress(OSError):  # of a run that never began
                folder.rmdir()
            if not folder.is_dir():
                unpack(url, folder)
            _boxes[str(folder)] = _urls[str(folder)] = url
            return folder
        Store(url=_tidy(url)).check_place()
        folder.mkdir(exist_ok=True, mode=0o700)
        _kept.add(str(folder))
    else:
        for known, store in _mounts.items():  # pictures and masks may lie in one folder
            if store.url == _tidy(url) and known not in _kept:
                return Path(known)
        folder = temporary() / (_last_name(url) or "files")  # by which commands call it
        folder.mkdir()
    _mounts[str(folder)] = Store(url=_tidy(url))
    _urls[str(folder)] = _tidy(url)
    return folder


def temporary(url: str = "") -> Path:
    """Make a folder of this process, which goes when it ends; messages call it ``url``."""
    folder = Path(tempfile.mkdtemp(dir=_base()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if url:
        _urls[str(folder)] = url
    return folder


def boxes() -> dict[str, str]:
    """Return the folders of this machine that become archives, with the URLs of these."""
    return _boxes


def _last_name(url: str) -> str:
    """Return what one would call a URL.

    >>> _last_name("s3://bucket/photos/"), _last_name("zip://::/data/photos.zip")
    ('photos', 'photos')
    """
    name = url.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    name = name.rpartition(".")[0] if "::" in url and "." in name else name
    return name.strip(".")


def _base() -> str:
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    base = os.environ.get("UOSAM_STAGING") or os.path.join(
        tempfile.gettempdir(), f"uosam-staging-{user}"
    )
    os.makedirs(base, exist_ok=True, mode=0o700)
    return os.path.realpath(base)


def mount_file(path: str | os.PathLike[str]) -> Path:
    """Return a path of this machine that stands for the URL of a file; others as they are.

    All files of a bucket or an archive lie below one folder. The file itself is not fetched.
    """
    url = read_url(path)
    if url is None:
        return check_plain(Path(path))
    inner, chain, rest = url.partition("::")
    scheme, _, place = inner.partition("://")
    if chain:
        return mount(Path(f"{scheme}://::{rest}")) / place
    bucket, _, name = place.partition("/")
    return mount(Path(f"{scheme}://{bucket}")) / name


def bring(path: Path) -> Path:
    """Return a folder of the URL's last name with copies of all its files; others as they are.

    Raises:
        InputError: it is not there or cannot be listed.
        OSError: the store fails again and again.
    """
    url = read_url(path)
    folder = mount_file(path)
    if url is not None:
        fetch(folder / name for name in Store(url=_tidy(url)).names())
    return folder


def is_there(path: Path) -> bool:
    """Tell whether there is such a file, on this machine or in the store that it stands for.

    Raises:
        OSError: the store fails again and again.
    """
    found = find_store(path)
    return path.is_file() or (found is not None and found[0].has(found[1]))


def as_given(text: str) -> str:
    """Put URLs in the place of the folders that stand for them, for whoever reads a message."""
    for folder, url in _urls.items():
        text = text.replace(folder, hide(url))
    return text


def _tidy(url: str) -> str:
    return url if "::" in url else url.rstrip("/")


def locate(path: Path) -> PurePath:
    """Return where a path leads: a URL, or a real path.

    >>> str(locate(Path("/")))
    '/'
    """
    found = find_store(path)
    if found is None:
        url = _boxes.get(os.fspath(path))
        return path.resolve() if url is None else PurePosixPath(url)
    return PurePosixPath(found[0].url, found[1])


def mounts() -> dict[str, Store]:
    """Return the stores of this process, for another one to take over."""
    return dict(_mounts)


def take_over(stores: dict[str, Store]) -> None:
    """Know the stores of the process that started this one."""
    _mounts.update(stores)


def find_store(path: Path) -> tuple[Store, str] | None:
    """Return the store that a path lies in and its name there; None for plain files."""
    if not _mounts:
        return None
    text = os.fspath(path)
    for folder, store in _mounts.items():
        if text == folder or text.startswith(folder + os.sep):
            return store, Path(text[len(folder) :].lstrip(os.sep)).as_posix()
    return None


def fetch(paths: Iterable[Path]) -> None:
    """Bring files here that lie in a store; one that is not there stays missing.

    Raises:
        OSError: the store fails again and again.
    """
    for path in paths:
        found = find_store(path)
        if found is not None and not path.is_file():
            with contextlib.suppress(FileNotFoundError):
                write_atomic(path, found[0].read(found[1]))


@contextlib.contextmanager
def at_hand(*paths: Path) -> Iterator[None]:
    """Have files here while the block runs, wherever they lie; one that is not there stays missing.

    Raises:
        OSError: the store fails again and again.
    """
    fetch(paths)
    try:
        yield
    finally:
        release(paths)


def release(paths: Iterable[Path]) -> None:
    """Remove the copies of files that lie in a store."""
    for path in paths:
        if find_store(path) is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def put(path: Path, data: bytes) -> None:
    """Write a file where it belongs, whole or not at all.

    Raises:
        OSError: the disk is full, or the store fails again and again.
    """
    found = find_store(path)
    if found is None:
        write_atomic(path, data)
    else:
        found[0].write(found[1], data)


def remove(path: Path) -> None:
    """Remove a file where it belongs, if it is there.

    Raises:
        OSError: it cannot be removed.
    """
    found = find_store(path)
    if found is not None:
        found[0].remove(found[1])
    path.unlink(missing_ok=True)


def list_store(folder: Path) -> Iterable[str] | None:
    """Return the names of files below a folder that stands for a store; None for any other."""
    if (found := find_store(folder)) is None:
        return None
    store, inside = found
    prefix = "" if inside in ("", ".") else f"{inside}/"
    return (name[len(prefix) :] for name in store.names() if name.startswith(prefix))


def pull(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Fetch what runs noted of themselves in a folder, unless this machine has it.

    Args:
        folder: of outputs.
        patterns: of file names in the folder itself, such as ``manifest*.jsonl``.

    Returns:
        Names of the notes that the store has; none for a folder of this machine.

    Raises:
        OSError: the store fails again and again.
    """
    found = find_store(folder)
    if found is None:
        return []
    names = [name for name in found[0].top() if any(fnmatch(name, one) for one in patterns)]
    fetch(folder / name for name in names)
    return names


def push(folder: Path, names: Iterable[str], *, gone: Iterable[str] = ()) -> None:
    """Send what a run noted of itself, and remove there what is no more.

    Raises:
        OSError: the store fails again and again.
    """
    if find_store(folder) is None:
        return
    for name in names:
        if (folder / name).is_file():
            put(folder / name, (folder / name).read_bytes())
    for name in gone:
        remove(folder / name)
