"""Zip and tar archives as inputs and as outputs."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import PIL.Image
import pytest

from tests.io.stores.places import command, run, stored, tree
from uosam.cli.stopping import sending
from uosam.errors import ConfigError, InputError
from uosam.io.stores.archives import check_archive, pack, unpack
from uosam.io.stores.mounts import mount
from uosam.io.stores.outbox import outbox
from uosam.io.stores.store import Store

REFINE = ("-s", "backend.name=tests.fakes:load")
DONE = "4 of both by an earlier run"
NOTES = ("manifest.jsonl", "config.yaml", "summary.json")


def inside(archive: Path) -> dict[str, bytes]:
    """Read an archive without what is tested here."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as opened:
            return {name: opened.read(name) for name in opened.namelist()}
    with tarfile.open(archive) as opened:
        files = {entry.name: opened.extractfile(entry) for entry in opened.getmembers()}
        return {name: file.read() for name, file in files.items() if file is not None}


def test_archives_are_read_alone(photos: Path) -> None:
    with zipfile.ZipFile(photos / "images.zip", "w") as archive:
        for path in (photos / "images").rglob("*.png"):
            archive.write(path, path.relative_to(photos / "images"))
    run(photos / "images", photos / "masks", photos / "plain")
    done = run(Path(f"zip://::{photos}/images.zip"), photos / "masks", photos / "out")
    assert dict(done.failures) == {}
    assert tree(photos / "out") == tree(photos / "plain")
    with pytest.raises(OSError, match="archives are read alone"):
        Store(url=f"zip://::{photos}/images.zip").write("a", b"")


def test_a_folder_as_tar_packs_it(photos: Path) -> None:
    with tarfile.open(photos / "images.tar", "w") as archive:
        archive.add(photos / "images", ".")  # names begin with "./"
    done = run(Path(f"tar://::{photos}/images.tar"), photos / "masks", photos / "out")
    assert (dict(done.failures), sum(done.status.values())) == ({}, 4)
    (photos / "no.zip").write_bytes(b"x" * 100)
    for kind in ("zip", "tar"):
        with pytest.raises(InputError, match="cannot be opened"):
            run(Path(f"{kind}://::{photos}/no.zip"), photos / "masks", photos / "other")


def test_a_shard_of_webdataset(photos: Path) -> None:
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


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_run_into_an_archive(photos: Path, staging: Path, kind: str) -> None:
    sources = (str(photos / "images"), str(photos / "masks"))
    command("refine", *sources, str(photos / "plain"), *REFINE)
    archive = photos / f"out.{kind}"
    said = command("refine", *sources, f"{kind}://::{archive}", *REFINE)
    assert str(staging) not in said
    found = inside(archive)
    names = list(found)
    assert names == sorted(names, key=lambda name: (name.startswith("__uosam__/"), name))
    for name in NOTES:
        found[name] = found.pop(f"__uosam__/{name}")
    plain = {
        path.relative_to(photos / "plain").as_posix(): path.read_bytes()
        for path in (photos / "plain").rglob("*")
        if path.is_file()
    }
    del found["summary.json"], plain["summary.json"]  # they tell of time
    assert found == plain
    assert os.listdir(staging) == []
    again = command("refine", *sources, f"{kind}://::{archive}", *REFINE)
    assert DONE in again
    assert {name: inside(archive)[name] for name in names[:4]} == {
        name: plain[name] for name in names[:4]
    }


def test_an_archive_that_a_run_wrote_is_read_like_any_other(photos: Path) -> None:
    url = f"tar://::{photos}/out.tar"
    command("refine", str(photos / "images"), str(photos / "masks"), url, *REFINE)
    scored = command("eval", url, str(photos / "masks"), "--resamples", "0")
    assert "mIoU" in scored
    assert "__uosam__" not in scored


def test_a_stopped_run_leaves_no_archive_and_goes_on(photos: Path, staging: Path) -> None:
    url, archive = f"zip://::{photos}/out.zip", photos / "out.zip"
    masks = [str(photos / "masks"), url, *REFINE]
    folder = mount(Path(url), keep=True)
    run(photos / "images", photos / "masks", folder)
    (folder / "manifest.jsonl").rename(folder / "manifest.partial.jsonl")  # stopped at the end
    with pytest.raises(KeyboardInterrupt), sending():
        raise KeyboardInterrupt
    assert not archive.exists()
    assert DONE in command("refine", str(photos / "images"), *masks)
    assert archive.exists()
    assert os.listdir(staging) == []


def test_a_run_that_is_refused_leaves_nothing(photos: Path, staging: Path) -> None:
    url = f"zip://::{photos}/out.zip"
    with pytest.raises(InputError, match="expected IMAGES MASKS OUT"):
        command("refine", str(photos / "images"), url)
    assert not (photos / "out.zip").exists()
    assert os.listdir(staging) == []
    for flags in (("--shard", "1/2"), ("--engine", "ray")):
        with pytest.raises(ConfigError, match="an archive is written by one machine in one run"):
            command("refine", str(photos / "images"), str(photos / "masks"), url, *REFINE, *flags)
    assert os.listdir(staging) == []


def test_an_archive_is_not_written_over_its_own_pictures(photos: Path) -> None:
    with zipfile.ZipFile(photos / "masks.zip", "w") as archive:
        for path in (photos / "masks").rglob("*.png"):
            archive.write(path, path.relative_to(photos / "masks"))
    before = (photos / "masks.zip").read_bytes()
    url = f"zip://::{photos}/masks.zip"
    with pytest.raises(ConfigError, match="must not be or lie in"):
        command("refine", str(photos / "images"), url, url, *REFINE)
    assert (photos / "masks.zip").read_bytes() == before


def test_archives_in_stores(bucket: str, photos: Path) -> None:
    url = f"tar://::s3://{bucket}/shards/out.tar"
    sources = (str(photos / "images"), str(photos / "masks"))
    command("refine", *sources, str(photos / "plain"), *REFINE)
    command("refine", *sources, url, *REFINE)
    assert list(stored(f"s3://{bucket}/shards")) == ["out.tar"]
    found = {name: data for name, data in stored(url).items() if "__" not in name}
    plain = tree(photos / "plain")
    assert found == {name: plain[name] for name in plain if name.endswith(".png")}
    assert DONE in command("refine", *sources, url, *REFINE)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("zip://refined::a.zip", r"an archive is written whole; give zip://::FILE\.zip"),
        ("zip://::tar://::a.tar", "an archive is written whole"),
        ("tar://::a.tar.gz", "archives are written uncompressed"),
        ("tar://::a.tgz", "archives are written uncompressed"),
    ],
)
def test_what_cannot_be_written_as_an_archive(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_archive(url)
    with pytest.raises(InputError, match=said):
        outbox(Path(url))


def test_an_archive_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../evil.png", b"x")
    with pytest.raises(InputError, match="leads out of the archive"):
        unpack(f"zip://::{tmp_path}/a.zip", tmp_path / "folder")
    assert os.listdir(tmp_path) == ["a.zip"]


def test_a_full_disk_leaves_the_old_archive(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(photos / "masks", f"zip://::{photos}/a.zip")
    before = (photos / "a.zip").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space left"):
        pack(photos / "images", f"zip://::{photos}/a.zip")
    assert (photos / "a.zip").read_bytes() == before
