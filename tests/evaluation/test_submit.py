from __future__ import annotations

import json
import zipfile

import cv2
import numpy as np
import pytest

from tests.evaluation.test_evaluate import write
from uosam.cli.submit import command
from uosam.errors import ConfigError, InputError
from uosam.evaluation.submit import Method, submit

METHOD = Method(name="m", data="d", scheme="SSL", networks="n", link="l", description="x")


@pytest.fixture
def masks(tmp_path):
    for index, label in enumerate((0, 3, 50)):
        name = f"n0000000{index}/a"
        write(tmp_path / "pred" / f"{name}.png", np.full((4, 5), label), luss=True)
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), np.zeros((4, 5, 3), np.uint8))
    np.save(tmp_path / "pred" / "n00000000" / "a.npy", np.zeros((4, 5)))
    return tmp_path


def pack(folder, **options):
    settings = {"split": "50", "method": METHOD, "count": 3, **options}
    return submit(folder / "pred", folder / "o" / "out.zip", **settings)


def test_archive(masks):
    match = {k: k % 50 + 1 for k in range(1, 51)}
    assert pack(masks, match=match, images=masks / "images") == 3
    first = (masks / "o" / "out.zip").read_bytes()
    with zipfile.ZipFile(masks / "o" / "out.zip") as archive:
        names = archive.namelist()
        assert names[:3] == [f"n0000000{i}/a.png" for i in range(3)]
        assert sorted(names[3:]) == ["match.json", "method.txt"]
        assert json.loads(archive.read("match.json"))["50"] == 1
        assert json.loads(archive.read("match.json"))["0"] == 0
        lines = archive.read("method.txt").decode().splitlines()
        assert lines == [
            "Method name: m",
            "Training data: d",
            "Training scheme: SSL",
            "Networks: n",
            "Paper/Project link: l",
            "Method description: x",
        ]
        stored = archive.read("n00000001/a.png")
    assert stored == (masks / "pred" / "n00000001" / "a.png").read_bytes()
    pack(masks, match=match)
    assert (masks / "o" / "out.zip").read_bytes() == first
    pack(masks)
    with zipfile.ZipFile(masks / "o" / "out.zip") as archive:
        assert "match.json" not in archive.namelist()


def test_every_fault_is_named_and_nothing_is_written(masks):
    write(masks / "pred" / "other" / "b.png", np.zeros((4, 5)))
    write(masks / "pred" / "n00000000" / "c.png", np.full((4, 5), 51), luss=True)
    write(masks / "pred" / "n00000001" / "a.png", np.full((6, 5), 7), luss=True)
    method = Method(name="", data="d", scheme="S", networks="n\udcff", link="l", description="a\nb")
    with pytest.raises(InputError) as caught:
        pack(masks, method=method, match={3: 1, 50: 1}, images=masks / "images", count=None)
    text = str(caught.value)
    for part in (
        "fault(s), nothing was written",
        "method.txt: name must be one line of text, got ''",
        "method.txt: networks must be one line of text, got 'n\\udcff'",
        "method.txt: description must be one line",
        "[3, 50] all become 1",
        "expected 1682 masks, one for each test image of ImageNet-S-50, got 5",
        "other/b.png: no image in",
        "folders such as n01443537, got other/b.png",
        "codec 'luss' was asked for",
        "n00000000/c.png: ids must be 0 to 50, got [51]",
        "n00000001/a.png: expected the size (4, 5)",
        "match.json lacks the ids [7]",
    ):
        assert part in text, text
    assert not (masks / "o").exists()


def test_missing_masks_are_named(masks):
    (masks / "pred" / "n00000001" / "a.png").unlink()
    with pytest.raises(InputError, match=r"n00000001/a.jpg: no mask in"):
        pack(masks, images=masks / "images", count=2)


def test_unknown_split_and_folder(masks, tmp_path):
    with pytest.raises(ConfigError, match="unknown split '51'"):
        pack(masks, split="51")
    with pytest.raises(InputError, match="expected a folder of synset folders"):
        submit(tmp_path / "none", tmp_path / "o.zip", split="50", method=METHOD)


def test_a_failed_write_leaves_nothing(masks, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(InputError, match=r"out.zip: cannot be written \(No space left"):
        pack(masks)
    assert list((masks / "o").iterdir()) == []


def test_command(masks, capsys):
    (masks / "match.json").write_text(json.dumps({k: k for k in range(51)}))
    words = dict.fromkeys(("name", "data", "scheme", "networks", "link", "description"), "x")
    command(
        masks / "pred",
        masks / "o.zip",
        split="50",
        match=masks / "match.json",
        count=3,
        **words,
    )
    assert "3 masks, method.txt, match.json" in capsys.readouterr().out
    assert zipfile.is_zipfile(masks / "o.zip")
