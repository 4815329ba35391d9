"""Runs from and to a real S3 server on this machine, with faults on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.io.stores.places import SILENCE, run, stored, tree, upload
from uosam.config import load_config
from uosam.errors import ConfigError, InputError
from uosam.io.listings.table import read_manifest
from uosam.io.pairs import Pairs, find_pairs
from uosam.io.stores import store as storing
from uosam.io.stores.mounts import mount
from uosam.io.stores.store import Store
from uosam.runs.manifest import MANIFEST, PARTIAL
from uosam.runs.refine import refine_folder
from uosam.runs.summary import Run


def test_a_run_from_bucket_to_bucket(bucket: str, photos: Path) -> None:
    base = f"s3://{bucket}"
    for part in ("images", "masks"):
        upload(photos / part, Store(url=f"{base}/{part}"))
    places = [Path(f"{base}/{part}") for part in ("images", "masks", "out")]
    done = run(*places)
    assert dict(done.failures) == {}
    assert sum(done.status.values()) == 4
    run(photos / "images", photos / "masks", photos / "plain")
    assert stored(f"{base}/out") == tree(photos / "plain")
    left = [path for path in (photos / "staging").rglob("*") if path.is_file()]
    assert left == []
    assert run(*places).skipped == 4
    Store(url=f"{base}/out").remove("n0/p0.png")
    Store(url=f"{base}/out").remove("n0/p0.png")
    Store(url=f"{base}/out").write("n1/p1.png", b"half")
    assert run(*places).skipped == 2
    assert stored(f"{base}/out") == tree(photos / "plain")
    with pytest.raises(ConfigError, match="must not be or lie in"):
        run(places[0], places[1], Path(f"{base}/masks/refined"))


def test_workers_know_the_stores(bucket: str, photos: Path) -> None:
    base = f"s3://{bucket}"
    upload(photos / "images", Store(url=f"{base}/images"))
    out = Path(f"{base}/out")
    done = run(Path(f"{base}/images"), photos / "masks", out, "engine.workers=2")
    assert dict(done.failures) == {}
    run(photos / "images", photos / "masks", photos / "plain")
    assert stored(str(f"{base}/out")) == tree(photos / "plain")


def test_a_stopped_run_goes_on_from_another_machine(
    bucket: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"s3://{bucket}/out"
    config = load_config(overrides=["backend.name=tests.fakes:load"])
    pairs = find_pairs(photos / "images", photos / "masks")
    seen = []

    def stop(outcome: object) -> None:
        seen.append(outcome)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine_folder(pairs, mount(Path(out), keep=True), config, on_outcome=stop)
    assert PARTIAL in set(Store(url=out).names())
    monkeypatch.setenv("UOSAM_STAGING", str(photos / "another"))
    done = refine_folder(pairs, mount(Path(out), keep=True), config)
    assert done.skipped >= 2
    refine_folder(pairs, photos / "plain", config)
    names = set(Store(url=out).names())
    assert MANIFEST in names
    assert PARTIAL not in names
    assert stored(out)[MANIFEST] == tree(photos / "plain")[MANIFEST]


@pytest.mark.parametrize("kind", ["500", "cut"])
def test_faults_that_pass_are_not_seen(server, bucket: str, kind: str) -> None:
    store, faults = Store(url=f"s3://{bucket}/f"), server[1]
    data = bytes(range(256)) * 100
    store.write("a.bin", data)
    faults.kind, faults.left = kind, 2
    assert store.read("a.bin") == data
    faults.kind, faults.left = "500", 2
    store.write("b.bin", data)
    faults.left = 0
    assert store.read("b.bin") == data


def test_a_server_that_does_not_answer_is_asked_again(server, bucket: str) -> None:
    options = {"config_kwargs": {"read_timeout": 0.3 * SILENCE, "retries": {"max_attempts": 0}}}
    store, faults = Store(url=f"s3://{bucket}/f", options=options), server[1]
    store.write("a.bin", b"abc")
    before = faults.asked
    assert store.read("a.bin") == b"abc"
    usual = faults.asked - before
    faults.kind, faults.left = "silent", 1
    assert store.read("a.bin") == b"abc"
    assert faults.asked - before > 2 * usual
    faults.left = 1
    store.write("b.bin", b"abc")
    assert (faults.left, store.read("b.bin")) == (0, b"abc")


def test_a_server_that_stays_silent_is_given_up(
    server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "TRIES", 2)
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    options = {"config_kwargs": {"read_timeout": 0.1, "retries": {"max_attempts": 0}}}
    store, faults = Store(url=f"s3://{bucket}/f", options=options), server[1]
    store.write("a.bin", b"abc")
    faults.kind, faults.left = "silent", 10**6
    with pytest.raises(OSError, match=r"2 times: 's3://.*a\.bin'"):
        store.read("a.bin")


def test_a_body_that_stays_cut_is_never_taken(server, bucket: str) -> None:
    store, faults = Store(url=f"s3://{bucket}/f"), server[1]
    store.write("a.bin", bytes(1000))
    faults.kind, faults.left = "cut", 10**6
    with pytest.raises(OSError, match=r"5 times: 's3://.*a\.bin'"):
        store.read("a.bin")


def test_what_is_not_there_is_told_at_once(server, bucket: str) -> None:
    store, faults = Store(url=f"s3://{bucket}/f"), server[1]
    before = faults.asked
    with pytest.raises(FileNotFoundError):
        store.read("gone.bin")
    assert faults.asked - before < 6


def test_scores_overlays_and_manifests_may_lie_in_stores(bucket: str, photos: Path) -> None:
    base = f"s3://{bucket}/deep"
    for path in sorted((photos / "masks").rglob("*.png")):
        ids = np.asarray(PIL.Image.open(path))
        scores = (np.arange(3)[:, None, None] == ids).astype(np.float32)
        soft = photos / "scores" / path.relative_to(photos / "masks").with_suffix(".npy")
        soft.parent.mkdir(parents=True, exist_ok=True)
        np.save(soft, scores * 0.6 + 0.1)
    for part in ("images", "masks", "scores"):
        upload(photos / part, Store(url=f"{base}/{part}"))
    names = [f"n{index % 2}/p{index}" for index in range(4)]
    rows = [f"{base}/images/{name}.png,masks/{name}.png,{name}" for name in names]
    table = "\n".join(["image,mask,name", *rows]).encode()
    Store(url=base).write("pairs.csv", table)

    def refine(pairs: Pairs, out: Path, scores: str, overlay: str) -> Run:
        config = load_config(
            overrides=["backend.name=tests.fakes:load", f"labels.scores={scores}",
                       f"engine.overlay={overlay}"]
        )  # fmt: skip
        return refine_folder(pairs, out, config)

    done = refine(
        read_manifest(Path(f"{base}/pairs.csv")),
        mount(Path(f"{base}/out"), keep=True),
        f"{base}/scores",
        f"{base}/seen",
    )
    assert (dict(done.failures), sum(done.status.values())) == ({}, 4)
    here = refine(
        find_pairs(photos / "images", photos / "masks"),
        photos / "plain",
        str(photos / "scores"),
        str(photos / "plainly"),
    )
    assert not here.failures
    masks = [f"{name}.png" for name in names]
    far, near = stored(f"{base}/out"), tree(photos / "plain")
    assert [far[name] for name in masks] == [near[name] for name in masks]
    assert stored(f"{base}/seen") == tree(photos / "plainly")
    Store(url=f"{base}/scores").remove("n1/p3.npy")
    again = mount(Path(f"{base}/new"), keep=True)
    failed = refine(read_manifest(Path(f"{base}/pairs.csv")), again, f"{base}/scores", "")
    assert "expected class scores" in failed.failures["n1/p3"]


def test_a_bucket_that_is_not_there_is_told_before_anything_is_done(bucket: str) -> None:
    for url in ("s3://nobucket", "s3://nobucket/x"):
        with pytest.raises(InputError, match="there is no bucket nobucket; make it, or correct"):
            mount(Path(url), keep=True)
    mount(Path(f"s3://{bucket}/not/yet"), keep=True)


def test_a_server_that_is_not_there_is_told_before_anything_is_done(bucket: str) -> None:
    gone = {"endpoint_url": "http://127.0.0.1:9"}
    with pytest.raises(InputError, match=f"s3://{bucket}: cannot be reached"):
        Store(url=f"s3://{bucket}", options=gone).check_place()
