"""Outputs that are sent when a command has ended: archives, and what is not the folder of a run.

Until then they lie on this machine, as any other output would.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from uosam.errors import InputError
from uosam.io.stores.archives import pack
from uosam.io.stores.mounts import boxes, mount, temporary
from uosam.io.stores.store import ARCHIVES, Store, read_url

_waiting: dict[str, Store] = {}
"""Folders of this machine, and the stores that their files belong to."""

_PARTIAL = "manifest.partial.jsonl"


def outbox(path: Path) -> Path:
    """Return where on this machine to write the file or folder of a URL; others as they are.

    Raises:
        InputError: it is a folder inside of an archive, or in no store that is there.
    """
    url = read_url(path)
    if url is None:
        return path
    if url.partition(":")[0].lower() in ARCHIVES:
        return mount(path, keep=True)
    place, _, name = url.rstrip("/").rpartition("/")
    if place.endswith(":/"):
        raise InputError(f"{url} names a file in no folder; give {place}/BUCKET/{name}")
    store = Store(url=place)
    store.check_place()
    folder = temporary(place)
    _waiting[str(folder)] = store
    return folder / name


def deliver() -> None:
    """Send what waits, and forget it. What cannot be sent stays, for the same command once more.

    Raises:
        InputError: a URL that no store is known for.
        OSError: a store fails again and again, or an archive cannot be written.
    """
    while _waiting:
        folder, store = next(iter(_waiting.items()))
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                store.write(path.relative_to(folder).as_posix(), path.read_bytes())
        shutil.rmtree(folder, ignore_errors=True)
        del _waiting[folder]
    held = boxes()
    while held:
        folder, url = next(iter(held.items()))
        pack(Path(folder), url)
        shutil.rmtree(folder, ignore_errors=True)
        del held[folder]


def abandon() -> None:
    """Forget what waits, after an error; a run that goes on later keeps what it has done."""
    _waiting.clear()
    held = boxes()
    under_way = any(Path(folder, _PARTIAL).exists() for folder in held)
    for folder in () if under_way else held:
        shutil.rmtree(folder, ignore_errors=True)
    held.clear()
