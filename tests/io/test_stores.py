"""Files in a real S3 server on this machine, in archives and in memory, with faults on the way."""

from __future__ import annotations

import io
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from tests.conftest import Scene
from uosam import cli
from uosam.cli import build_app
from uosam.config import load_config
from uosam.errors import ConfigError, InputError
from uosam.io.listings.table import read_manifest
from uosam.io.pairs import Pairs, find_pairs
from uosam.io.stores import mounts as mounting
from uosam.io.stores import store as storing
from uosam.io.stores.mounts import find_store, mount
from uosam.io.stores.store import Store, read_url
from uosam.runs.manifest import MANIFEST, PARTIAL
from uosam.runs.refine import refine_folder
from uosam.runs.summary import Run

SILENCE = 1.0
"""Seconds of a server that does not answer; the clients of the tests wait less."""


class Faults:
    """Stands before a WSGI application and spoils answers of objects as a test says."""

    def __init__(self, application: Callable) -> None:
        self.application = application
        self.kind, self.left, self.asked = "", 0, 0

    def __call__(self, environ: dict, start: Callable) -> object:
        path = environ["PATH_INFO"]
        self.asked += 1
        if not self.left or path.count("/") < 2 or environ["REQUEST_METHOD"] == "HEAD":
            return self.application(environ, start)
        self.left -= 1
        if self.kind == "500":
            start("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if self.kind == "silent":
            time.sleep(SILENCE)
        if self.kind == "refused":
            start("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        if self.kind == "silent":
            return self.application(environ, start)
        said: list = []
        body = b"".join(self.application(environ, lambda *answer: said.append(answer)))
        status, headers = said[0][:2]
        start(
            status,
            [pair for pair in headers if pair[0].lower() != "content-length"]
            + [("Content-Length", str(len(body) // 2))],
        )
        return [body[: len(body) // 2]]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faults]]:
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    serving = pytest.importorskip("werkzeug.serving")
    faults = Faults(moto.DomainDispatcherApplication(moto.create_backend_app))
    server = serving.make_server("127.0.0.1", 0, faults, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}", faults
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bucket(server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Make an empty bucket, and let URLs lead to it."""
    s3fs = pytest.importorskip("s3fs")
    endpoint, faults = server
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "UOSAM_STAGING": str(tmp_path / "staging"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storing, "WAIT", 0.01)
    monkeypatch.setattr(mounting, "_mounts", {})
    faults.left = 0
    s3fs.S3FileSystem.clear_instance_cache()
    name = f"b{abs(hash(tmp_path)) % 10**9}"
    s3fs.S3FileSystem().mkdir(name)
    return name


@pytest.fixture
def photos(tmp_path: Path, scene: Scene) -> Path:
    for index in range(4):
        for part, array in (("images", scene.image), ("masks", scene.coarse.astype(np.uint8))):
            path = tmp_path / part / f"n{index % 2}/p{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(np.roll(array, index, axis=1)).save(path)
    return tmp_path


def upload(folder: Path, store: Store) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            store.write(path.relative_to(folder).as_posix(), path.read_bytes())


def tree(folder: Path) -> dict[str, bytes]:
    files = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*") if p.is_file()
    }
    return without_volatile(files)


def without_volatile(files: dict[str, bytes]) -> dict[str, bytes]:
    return {k: v for k, v in files.items() if k not in ("summary.json", "config.yaml")}


def stored(url: str) -> dict[str, bytes]:
    files = {name: Store(url=url).read(name) for name in Store(url=url).names()}
    return without_volatile(files)


def run(images: Path, masks: Path, out: Path, *settings: str) -> Run:
    config = load_config(overrides=["backend.name=tests.fakes:load", *settings])
    inputs = [mount(images), mount(masks)]
    return refine_folder(find_pairs(*inputs), mount(out, keep=True), config, inputs=inputs)


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3://b/x y", "s3://b/x y"),
        ("gs:/b/x", "gs://b/x"),
        ("hf://datasets/a/b", "hf://datasets/a/b"),
        ("zip:/::/tmp/a.zip", "zip://::/tmp/a.zip"),
        ("tar:/::s3:/b/a.tar", "tar://::s3://b/a.tar"),
        ("photos", None),
        ("/a:b/c", None),
        ("C:/photos", None),
        ("file:///photos", None),
    ],
)
def test_urls_are_known(path: str, url: str | None) -> None:
    assert read_url(path) == url
    assert mount(Path("photos")) == Path("photos")
    assert find_store(Path("photos")) is None


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


def test_archives_are_read_alone(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UOSAM_STAGING", str(photos / "staging"))
    monkeypatch.setattr(mounting, "_mounts", {})
    monkeypatch.setattr(storing, "WAIT", 0.0)
    with zipfile.ZipFile(photos / "images.zip", "w") as archive:
        for path in (photos / "images").rglob("*.png"):
            archive.write(path, path.relative_to(photos / "images"))
    run(photos / "images", photos / "masks", photos / "plain")
    done = run(Path(f"zip://::{photos}/images.zip"), photos / "masks", photos / "out")
    assert dict(done.failures) == {}
    assert tree(photos / "out") == tree(photos / "plain")
    with pytest.raises(OSError, match="archives are read alone"):
        Store(url=f"zip://::{photos}/images.zip").write("a", b"")


def test_a_folder_as_tar_packs_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UOSAM_STAGING", str(photos / "staging"))
    monkeypatch.setattr(mounting, "_mounts", {})
    with tarfile.open(photos / "images.tar", "w") as archive:
        archive.add(photos / "images", ".")  # names begin with "./"
    done = run(Path(f"tar://::{photos}/images.tar"), photos / "masks", photos / "out")
    assert (dict(done.failures), sum(done.status.values())) == ({}, 4)
    with pytest.raises(InputError, match="archives are read and never written"):
        run(photos / "images", photos / "masks", Path(f"zip://::{photos}/new.zip"))
    (photos / "no.zip").write_bytes(b"x" * 100)
    for kind in ("zip", "tar"):
        with pytest.raises(InputError, match="cannot be opened"):
            run(Path(f"{kind}://::{photos}/no.zip"), photos / "masks", photos / "other")


def test_a_shard_of_webdataset(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UOSAM_STAGING", str(photos / "staging"))
    monkeypatch.setattr(mounting, "_mounts", {})
    with tarfile.open(photos / "shard-000.tar", "w") as archive:
        for index in range(4):
            image = PIL.Image.open(photos / f"images/n{index % 2}/p{index}.png")
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=95)
            mask = (photos / f"masks/n{index % 2}/p{index}.png").read_bytes()
            for suffix, data in (("jpg", buffer.getvalue()), ("seg.png", mask)):
                entry = tarfile.TarInfo(f"{index:06d}.{suffix}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    url = Path(f"tar://::{photos}/shard-000.tar")
    done = run(url, url, photos / "out")
    assert dict(done.failures) == {}
    assert {f"{index:06d}.seg.png" for index in range(4)} < set(tree(photos / "out"))


def test_messages_have_urls_without_secrets(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UOSAM_STAGING", str(photos / "staging"))
    monkeypatch.setattr(mounting, "_mounts", {})
    folder = mount(Path("s3://me:secret@bucket/photos"))
    said = mounting.as_given(f"{folder}/a.png: damaged")
    assert said == "s3://bucket/photos/a.png: damaged"
    monkeypatch.setattr(sys, "argv", ["uosam", "refine", "memory://x", str(photos / "masks"), "o"])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert "memory://x" in said
    assert str(photos / "staging") not in said


def test_urls_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a URL that fsspec knows"):
        list(Store(url="nowhere://x").names())
    with pytest.raises(InputError, match=r"cannot be (opened|listed)"):
        list(Store(url=f"zip://::{tmp_path}/gone.zip").names())
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"URLs need fsspec, got none"):
        list(Store(url="memory://x").names())


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


def test_folders_in_stores_are_scored(bucket: str, photos: Path) -> None:
    for part, name in (("masks", "pred"), ("masks", "gt")):
        upload(photos / part, Store(url=f"s3://{bucket}/{name}"))
    pairs = f"s3://{bucket}/pred", f"s3://{bucket}/gt"
    found = CliRunner().invoke(build_app(), ["eval", *pairs, "--csv", str(photos / "a.csv")])
    assert found.exit_code == 0, found.output
    assert (photos / "a.csv").read_text().splitlines()[1].startswith("pred,mIoU,100")
