"""Pairs are found where a person would see them, and nothing is dropped in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from uosam.errors import InputError
from uosam.io.listings.table import read_manifest
from uosam.io.pairs import find_pairs


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def pair(tmp_path: Path, images: list[str], masks: list[str]) -> list[tuple[str, str, str]]:
    image_root, mask_root = touch(tmp_path / "i", *images), touch(tmp_path / "m", *masks)
    return [
        (
            sample.name,
            (sample.image or Path()).relative_to(image_root).as_posix(),
            (sample.coarse or Path()).relative_to(mask_root).as_posix(),
        )
        for sample in find_pairs(image_root, mask_root).samples
    ]


@pytest.mark.parametrize(
    ("images", "masks", "expected"),
    [
        (["n2/b.JPEG", "n1/a.jpg"], ["n1/a.png", "n2/b.npy"],
         [("n1/a", "n1/a.jpg", "n1/a.png"), ("n2/b", "n2/b.JPEG", "n2/b.npy")]),
        # exact stems win over the first dot
        (["a.b.jpg", "a.c.jpg"], ["a.b.png", "a.c.png"],
         [("a.b", "a.b.jpg", "a.b.png"), ("a.c", "a.c.jpg", "a.c.png")]),
        (["a.b.jpg", "a.jpg"], ["a.png"], [("a", "a.jpg", "a.png")]),
        # PASS writes the stem up to the first dot
        (["n1/a.b.jpg"], ["n1/a.png"], [("n1/a", "n1/a.b.jpg", "n1/a.png")]),
        # one side flat
        (["n1/a.jpg", "n2/b.jpg"], ["a.png", "b.png"],
         [("a", "n1/a.jpg", "a.png"), ("b", "n2/b.jpg", "b.png")]),
        (["a.b.jpg"], ["n1/a.png"], [("n1/a", "a.b.jpg", "n1/a.png")]),
        # both nested: another folder is another picture
        (["n1/a.jpg"], ["n2/a.png"], []),
        # PASS's logit map beside its mask, hidden and foreign files
        (["a.jpg", ".a.jpg", "notes.txt"], ["a.png", "a.npy", ".a.png", "__MACOSX/a.png"],
         [("a", "a.jpg", "a.png")]),
        # two masks of pictures that are not there may be called the same
        (["a.jpg"], ["a.png", "n1/b.png", "n1/b.npz"], [("a", "a.jpg", "a.png")]),
    ],
)  # fmt: skip
def test_pairs(
    tmp_path: Path, images: list[str], masks: list[str], expected: list[tuple[str, str, str]]
) -> None:
    assert pair(tmp_path, images, masks) == expected


@pytest.mark.parametrize(
    ("images", "masks", "both"),
    [
        (["a.jpg", "a.png"], ["a.png"], r"i/a\.jpg and .*i/a\.png both answer to 'a'"),
        (["a.jpg"], ["a.npy", "a.npz"], r"m/a\.npy and .*m/a\.npz both answer to 'a'"),
        (["a.b.jpg", "a.c.jpg"], ["a.png"], r"i/a\.b\.jpg and .*i/a\.c\.jpg both answer to 'a'"),
        (["n1/a.jpg", "n2/a.jpg"], ["a.png"], r"n1/a\.jpg and .*n2/a\.jpg both answer"),
    ],
)
def test_two_for_one_is_an_error_that_names_both(
    tmp_path: Path, images: list[str], masks: list[str], both: str
) -> None:
    with pytest.raises(InputError, match=both):
        pair(tmp_path, images, masks)


def test_unpaired_files_are_listed(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "i", "a.jpg", "b.jpg"), touch(tmp_path / "m", "a.png", "c.png")
    pairs = find_pairs(images, masks)
    assert [sample.name for sample in pairs.samples] == ["a"]
    assert pairs.unpaired_images == [images / "b.jpg"]
    assert pairs.unpaired_masks == [masks / "c.png"]


def test_pictures_and_masks_in_one_folder(tmp_path: Path) -> None:
    root = touch(tmp_path, "n1/a.JPEG", "n1/a.png")
    (sample,) = find_pairs(root, root).samples
    assert (sample.image, sample.coarse) == (root / "n1/a.JPEG", root / "n1/a.png")


def test_two_files(tmp_path: Path) -> None:
    touch(tmp_path, "photo.jpg", "mask.png")
    (sample,) = find_pairs(tmp_path / "photo.jpg", tmp_path / "mask.png").samples
    assert sample.name == "mask"


def test_linked_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "real", "a.jpg"), touch(tmp_path / "m", "n1/a.png")
    (tmp_path / "i").mkdir()
    os.symlink(images, tmp_path / "i" / "n1")
    os.symlink(tmp_path / "i", images / "loop")
    assert [sample.name for sample in find_pairs(tmp_path / "i", masks).samples] == ["n1/a"]


def test_missing_folder(tmp_path: Path) -> None:
    touch(tmp_path, "file.png")
    with pytest.raises(InputError, match="expected a folder, but it does not exist"):
        find_pairs(tmp_path, tmp_path / "gone")
    with pytest.raises(InputError, match="expected a folder, but it is a file"):
        find_pairs(tmp_path, tmp_path / "file.png")


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make one folder unlistable, also for the administrator, who may list everything."""
    scandir = os.scandir

    def guarded(path: str) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", guarded)


def test_unreadable_subfolder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = touch(tmp_path / "i", "n1/a.jpg", "n2/b.jpg")
    masks = touch(tmp_path / "m", "n1/a.png", "n2/b.png")
    refuse(monkeypatch, images / "n2")
    pairs = find_pairs(images, masks)
    assert [sample.name for sample in pairs.samples] == ["n1/a"]
    assert pairs.unreadable == {str(images / "n2"): "folder cannot be listed (Permission denied)"}
    assert pairs.unpaired_masks == [masks / "n2/b.png"]


def test_unreadable_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, touch(tmp_path / "i"))
    (tmp_path / "i").mkdir()
    with pytest.raises(InputError, match=r"folder cannot be listed \(Permission denied\)"):
        find_pairs(tmp_path / "i", tmp_path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_manifest(tmp_path: Path, suffix: str) -> None:
    rows = [
        {"image": "i/a.jpg", "mask": "m/n1/007.png", "target": "t/a.png"},
        {"image": "/abs/b.jpg", "mask": "m/n2/b.png", "target": ""},
    ]
    path = tmp_path / f"pairs{suffix}"
    table = pd.DataFrame(rows)
    if suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    first, second = read_manifest(path).samples
    root = tmp_path.resolve()
    assert (first.name, second.name) == ("n1/007", "n2/b")
    assert (first.image, first.coarse) == (root / "i/a.jpg", root / "m/n1/007.png")
    assert (first.target, second.target) == (root / "t/a.png", None)
    assert second.image == Path("/abs/b.jpg")


def test_manifest_names(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("name,image,mask\n0012,a.jpg,a.png\nx/y,b.jpg,a.png\n")
    assert [sample.name for sample in read_manifest(path).samples] == ["0012", "x/y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a CSV or Parquet table, got No columns"),
        ("image,masks\na,b\n", "needs the columns image and mask, got image, masks"),
        ("image,mask\na.jpg,\n", "row 1 must give both image and mask"),
        ("image,mask\na.jpg,m.png\nb.jpg,m.png\n", "row 2: name 'm' comes twice"),
        ("name,image,mask\n../../x,a.jpg,m.png\n", "relative path without '..', got '../../x'"),
        ("name,image,mask\n/x,a.jpg,m.png\n", "relative path without '..', got '/x'"),
    ],
)
def test_bad_manifest(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_manifest(path)


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a CSV or Parquet table"):
        read_manifest(tmp_path / "gone.csv")
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match="expected a CSV or Parquet table"):
        read_manifest(tmp_path / "bad.parquet")
