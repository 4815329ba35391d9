"""S3, Google Cloud Storage and the Hugging Face Hub: the same files, whatever fails on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.io.stores.places import run, stored, tree, upload
from uosam.io.stores.store import Store

KINDS = ("s3", "gs", "hf")
DATA = bytes(range(256)) * 8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["500", "cut", "silent"])
def test_a_read_that_fails_for_a_while(places: Callable, kind: str, fault: str) -> None:
    url, faults, options = places(kind)
    store = Store(url=url, options=options)
    store.write("n0/a.bin", DATA)
    faults.kind, faults.left = fault, 1
    assert store.read("n0/a.bin") == DATA
    assert faults.left == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["500", "cut", "short", "silent"])
def test_a_write_that_fails_for_a_while(places: Callable, kind: str, fault: str) -> None:
    url, faults, options = places(kind)
    store = Store(url=url, options=options)
    store.write("n0/b.bin", b"old")
    faults.kind, faults.left = fault, 1
    store.write("n0/b.bin", DATA)
    assert faults.left == 0
    assert store.read("n0/b.bin") == DATA
    assert sorted(store.names()) == ["n0/b.bin"]


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_what_is_not_there(places: Callable, kind: str) -> None:
    url, _, options = places(kind)
    store = Store(url=url, options=options)
    assert store.top() == []
    for name in ("b.bin", "n0/a.bin", "n0/deep/c.bin"):
        store.write(name, name.encode())
    assert sorted(store.names()) == ["b.bin", "n0/a.bin", "n0/deep/c.bin"]
    assert store.top() == ["b.bin"]
    assert (store.has("n0/a.bin"), store.has("n0/gone.bin")) == (True, False)
    with pytest.raises(FileNotFoundError, match=r"n0/gone\.bin"):
        store.read("n0/gone.bin")
    store.remove("n0/a.bin")
    store.remove("n0/a.bin")
    assert sorted(store.names()) == ["b.bin", "n0/deep/c.bin"]


@pytest.mark.parametrize("kind", ["gs", "hf"])
def test_a_run_from_store_to_store(places: Callable, photos: Path, kind: str) -> None:
    base, _, _ = places(kind)
    for part in ("images", "masks"):
        upload(photos / part, Store(url=f"{base}/{part}"))
    done = run(*(Path(f"{base}/{part}") for part in ("images", "masks", "out")))
    assert (dict(done.failures), sum(done.status.values())) == ({}, 4)
    run(photos / "images", photos / "masks", photos / "plain")
    assert stored(f"{base}/out") == tree(photos / "plain")
    again = run(*(Path(f"{base}/{part}") for part in ("images", "masks", "out")))
    assert again.skipped == 4
