"""Which paths are URLs, and what is said of those that lead nowhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from uosam import cli
from uosam.errors import InputError
from uosam.io.stores import mounts as mounting
from uosam.io.stores.mounts import find_store, mount
from uosam.io.stores.outbox import outbox
from uosam.io.stores.store import Store, read_url


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
    ],
)
def test_urls_are_known(path: str, url: str | None) -> None:
    assert read_url(path) == url
    assert mount(Path("photos")) == Path("photos")
    assert find_store(Path("photos")) is None


def test_messages_have_urls_without_secrets(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("file:///data/a b", r"paths of this machine go without file://; give /data/a b$"),
        ("file:/data", "give /data$"),
        ("s3://", "names no place; give s3://BUCKET/FOLDER"),
        ("gs:", "names no place; give gs://BUCKET/FOLDER"),
        ("out/new.zip", r"an archive is given as zip://::out/new\.zip"),
        ("zip://::out/a.tar", r"a zip archive ends in \.zip; correct one of both"),
        ("tar://::out/a.zip", r"a tar archive ends in \.tar; correct one of both"),
        ("zip://::out/a.tar.gz", r"give a name that ends in \.zip"),
        ("memory://x/y", "memory:// ends with the command; give another place"),
        ("nowhere://x/y", "correct what is before ://"),
    ],
)
def test_places_for_outputs_are_checked_before_anything_is_done(path: str, said: str) -> None:
    for keep in (mount, outbox):
        if keep is outbox and path == "out/new.zip":
            continue  # a file that a command writes, such as an export
        with pytest.raises(InputError, match=said):
            mount(Path(path), keep=True) if keep is mount else outbox(Path(path))


def test_a_folder_may_be_called_as_an_archive(tmp_path: Path) -> None:
    (tmp_path / "old.zip").mkdir()
    assert mount(tmp_path / "old.zip") == tmp_path / "old.zip"
    (tmp_path / "masks.tar").touch()
    for find in (mount, mounting.mount_file):
        with pytest.raises(InputError, match=r"an archive is given as tar://::"):
            find(tmp_path / "masks.tar")


def test_a_file_lies_in_a_folder() -> None:
    with pytest.raises(InputError, match=r"names a file in no folder; give s3://BUCKET/e\.json"):
        outbox(Path("s3://e.json"))
