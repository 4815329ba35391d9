"""Many names in little memory, and pairs found by them, are what plain lists and tables give."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uosam.errors import InputError
from uosam.io.listings import matching
from uosam.io.listings.matching import match
from uosam.io.listings.names import Listing, Names, choose, without_suffix
from uosam.io.listings.table import read_manifest
from uosam.io.walk import list_files, walk_files

words = st.from_regex(r"[abé](/[ab])?[ab.é-]{0,3}", fullmatch=True)


@given(st.lists(st.text(max_size=9)))
def test_names_come_back_as_they_were(names: list[str]) -> None:
    packed = Names(names)
    assert len(packed) == len(names)
    assert list(packed) == names == [packed[index] for index in range(len(names))]


def test_names_that_are_no_unicode() -> None:
    odd = os.fsdecode(b"n\xff.png")
    assert list(Names([odd])) == [odd]


def test_a_listing_is_a_sequence() -> None:
    squares = Listing(5, lambda index: index**2)
    assert list(squares) == [0, 1, 4, 9, 16]
    assert squares == [0, 1, 4, 9, 16]
    assert squares != [0, 1]
    assert (squares[-1], squares[1:3], squares[::-1][0]) == (16, [1, 4], 16)
    assert choose(squares, [3, 0]) == [9, 0]
    assert repr(squares[:2]) == "[0, 1]"
    with pytest.raises(IndexError, match="index must be below 5, got 5"):
        squares[5]


@given(st.lists(words, unique=True, max_size=12))
@settings(max_examples=60, deadline=None)
def test_pairs_are_those_of_a_table(names: list[str]) -> None:
    images = [f"{name}.jpg" for name in names[::2]]
    masks = [f"{unicodedata.normalize('NFD', name)}.png" for name in names]
    table = defaultdict(list)
    for index, mask in enumerate(masks):
        table[unicodedata.normalize("NFC", without_suffix(mask))].append(index)
    wanted = [
        [index, table[unicodedata.normalize("NFC", without_suffix(image))][0]]
        for index, image in enumerate(images)
    ]
    pairs, left, right = match(
        (Path("i"), Path("m")), (Names(images), Names(masks)), [without_suffix]
    )
    assert pairs.tolist() == sorted(wanted, key=lambda pair: pair[1])
    assert len(left) == 0
    assert sorted([*right.tolist(), *pairs[:, 1].tolist()]) == list(range(len(masks)))


def test_names_with_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def poor(text: str) -> int:
        return len(text) if not text.startswith(".") else hash(text)

    monkeypatch.setattr(matching, "hash", poor, raising=False)
    files = Names(["ab.jpg", "cd.jpg"]), Names(["cd.png", "ef.png"])
    pairs, left, right = match((Path("i"), Path("m")), files, [without_suffix])
    assert (pairs.tolist(), left.tolist(), right.tolist()) == ([[1, 0]], [0], [1])


def test_a_key_of_two_files_is_refused_only_where_it_has_a_partner() -> None:
    files = Names(["a.jpg", "a.png", "b.jpg"]), Names(["b.png"])
    assert match((Path("i"), Path("m")), files, [without_suffix])[0].tolist() == [[2, 0]]
    files = Names(["a.jpg", "a.png"]), Names(["a.png"])
    with pytest.raises(InputError, match=r"i/a\.jpg and i/a\.png both answer to 'a'"):
        match((Path("i"), Path("m")), files, [without_suffix])


def test_files_are_walked_in_order_of_their_names(tmp_path: Path) -> None:
    names = [
        "n/a.png",
        "n-x/b.png",
        "n.png",
        "a.b.png",
        "a.png",
        "n/z/c.PNG",
        "n/b.txt",
        ".h/a.png",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (tmp_path / "n" / "loop").symlink_to(tmp_path)
    found = list(walk_files(tmp_path, [".png"], {}))
    stems = [without_suffix(name) for name in found]
    assert stems == sorted(stems)
    assert set(found) == {n for n in names if n.lower().endswith("png") and n[0] != "."}
    assert list_files(tmp_path, [".png"], {}) == sorted(map(PurePosixPath, found))


def test_a_table_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    rows = [{"image": f"i/{n:02}.jpg", "mask": f"m/{n % 3}/{n:02}.png"} for n in range(20)]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    whole = [list(read_manifest(tmp_path / f"t.{kind}").samples) for kind in ("csv", "parquet")]
    monkeypatch.setattr("uosam.io.listings.table.BLOCK", 3)
    blocks = [list(read_manifest(tmp_path / f"t.{kind}").samples) for kind in ("csv", "parquet")]
    assert whole[0] == whole[1] == blocks[0] == blocks[1]
    assert [sample.name for sample in whole[0]][:2] == ["0/00", "0/03"]
    (tmp_path / "none.parquet").touch()
    pd.DataFrame({"image": [], "mask": []}).to_parquet(tmp_path / "none.parquet")
    assert len(read_manifest(tmp_path / "none.parquet").samples) == 0
    pd.DataFrame({"image": []}).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(InputError, match="needs the columns image and mask, got image"):
        read_manifest(tmp_path / "none.parquet")
