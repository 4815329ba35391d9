"""A real S3 server on this machine, and pictures to put there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.conftest import Scene
from tests.io.stores.hub import REPO, Hub
from tests.io.stores.places import SILENCE, Faults, Forward, serving
from uosam.io.stores import mounts as mounting
from uosam.io.stores import store as storing


@pytest.fixture(autouse=True)
def staging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep copies in a folder of the test, and forget them after it."""
    monkeypatch.setenv("UOSAM_STAGING", str(tmp_path / "staging"))
    monkeypatch.setattr(storing, "WAIT", 0.01)
    for name, empty in (("_mounts", {}), ("_boxes", {}), ("_urls", {}), ("_kept", set())):
        monkeypatch.setattr(mounting, name, empty)
    return tmp_path / "staging"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faults]]:
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    with serving(moto.DomainDispatcherApplication(moto.create_backend_app)) as served:
        yield served


@pytest.fixture(scope="module")
def cloud() -> Iterator[tuple[str, Faults]]:
    """Emulate Google Cloud Storage; there is one bucket."""
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # read on import
    pytest.importorskip("gcsfs", reason="gcsfs is not installed")
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="no emulator installed")
    behind = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    behind.start()
    with serving(Forward(behind._api._httpd.server_port)) as served:
        yield served
    behind.stop()


@pytest.fixture(scope="module")
def hub() -> Iterator[tuple[str, Faults]]:
    """Imitate the Hugging Face Hub; there is one data set."""
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    with serving(Hub()) as served:
        yield served


@pytest.fixture
def places(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Give the URL of an empty folder of a kind of store, for clients of little patience."""

    def place(kind: str) -> tuple[str, Faults, dict]:
        if kind == "s3":
            name = request.getfixturevalue("bucket")
            patience = {"read_timeout": 0.3 * SILENCE, "retries": {"max_attempts": 0}}
            return f"s3://{name}", request.getfixturevalue("server")[1], {"config_kwargs": patience}
        folder = f"f{abs(hash(request.node.nodeid)) % 10**9}"
        if kind == "gs":
            url, faults = request.getfixturevalue("cloud")
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
            gcsfs = pytest.importorskip("gcsfs")
            gcsfs.GCSFileSystem.clear_instance_cache()
            monkeypatch.setattr(gcsfs.GCSFileSystem, "retries", 1)
            found, options = f"gs://bucket/{folder}", {"token": "anon"}
        else:
            url, faults = request.getfixturevalue("hub")
            constants = pytest.importorskip("huggingface_hub.constants")
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
            monkeypatch.setattr(constants, "ENDPOINT", url)
            template = url + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3 * SILENCE)
            monkeypatch.setenv("HF_TOKEN", "hf_test")
            pytest.importorskip("huggingface_hub").HfFileSystem.clear_instance_cache()
            found, options = f"hf://datasets/{REPO}/{folder}", {"endpoint": url}
        faults.left = 0
        return found, faults, options

    return place


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
    }.items():
        monkeypatch.setenv(name, value)
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
