"""Colour-coded masks: read by a table, written back in the same colours, refused where unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from torchvision.datasets import Cityscapes

from uosam.config import load_config
from uosam.errors import ConfigError, InputError
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions
from uosam.io.codecs import LabelOptions, read_labels, read_with, write_labels
from uosam.io.colours import BUILT_IN, read_colours
from uosam.io.pairs import find_pairs
from uosam.runs.refine import refine_folder
from uosam.structures import IGNORE

IDS = np.array([[0, 0, 1], [15, 1, IGNORE]], np.int32)
VOC = np.array(
    [[[0, 0, 0], [0, 0, 0], [128, 0, 0]], [[192, 128, 128], [128, 0, 0], [224, 224, 192]]], np.uint8
)


def save(path: Path, colours: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(colours.astype(np.uint8)).save(path)
    return path


def test_voc_colours_are_those_of_the_devkit_and_come_back(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", VOC)
    file = read_with(path, LabelOptions(colours="voc"))
    assert file.labels.tolist() == IDS.tolist()
    write_labels(tmp_path / "b.png", file.labels, file.spec)
    assert np.array_equal(np.array(PIL.Image.open(tmp_path / "b.png")), VOC)


def test_cityscapes_colours_are_those_of_torchvision() -> None:
    table = read_colours("cityscapes")
    published = {c.color: c.id for c in reversed(Cityscapes.classes) if c.id >= 0}
    del published[0, 0, 0]  # eight kinds of "not labelled"
    published[0, 0, 142] = 26  # car; the licence plate has id -1
    assert {
        colour: label for label, colour in table.colours.items() if label != IGNORE
    } == published
    assert table.names[26] == "car"


@pytest.mark.parametrize(
    ("name", "ids", "sample"),
    [
        ("voc", 21, {20: (0, 64, 128)}),
        ("cityscapes", 28, {7: (128, 64, 128)}),
        ("ade20k", 149, {0: (120, 120, 120), 149: (92, 0, 255)}),
        ("camvid", 31, {17: (128, 64, 128)}),
    ],
)
def test_every_built_in_table_is_whole(
    name: str, ids: int, sample: dict[int, tuple[int, int, int]]
) -> None:
    colours = read_colours(name).colours
    assert len([label for label in colours if label >= 0]) == ids
    assert IGNORE in colours
    assert len(set(colours.values())) == len(colours)
    for label, colour in sample.items():
        assert colours[label] == colour


def test_a_table_of_ones_own_has_names(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("id, red,green,blue,name\n300,1,2,3,fox\nignore,9,9,9,\n", "utf-8")
    path = save(tmp_path / "a.png", np.array([[[1, 2, 3], [9, 9, 9]]]))
    file = read_labels(path, colours=str(table))
    assert file.labels.tolist() == [[300, IGNORE]]
    assert read_colours(str(table)).names == {300: "fox"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "must begin with the line id,red,green,blue,name, got 'a,b'"),
        ("id,red,green,blue\n", "needs at least one line"),
        ("id,red,green,blue\n1,2,3,256\n", r"line 2: expected an id .* got '1,2,3,256'"),
        ("id,red,green,blue\n1,2,x,4\n", "line 2: expected an id"),
        ("id,red,green,blue\n-4,2,3,4\n", "line 2: expected an id"),
        ("id,red,green,blue\n1,2,3\n", "line 2: expected an id"),
        ("id,red,green,blue\n1,2,3,4\n2,2,3,4\n", "line 3: every id and every colour may stand"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(text, "utf-8")
    with pytest.raises(InputError, match=message):
        read_colours(str(table))


def test_no_table_and_a_table_of_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no.csv: expected a colour table, .*one of voc"):
        read_colours(str(tmp_path / "no.csv"))
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="must be UTF-8"):
        read_colours(str(tmp_path / "b.csv"))
    with pytest.raises(ConfigError, match="needs the table to read them by"):
        LabelOptions(codec="colours")


def test_a_colour_without_a_class_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[[0, 0, 0], [7, 8, 9], [7, 8, 9]]]))
    with pytest.raises(InputError, match=r"colour \(7, 8, 9\) is not in .* voc, of 2 pixels"):
        read_labels(path, colours="voc")
    with pytest.raises(InputError, match=r"colours stand for classes, name their table"):
        read_labels(path)


def test_an_id_without_a_colour_is_not_written(tmp_path: Path) -> None:
    spec = read_labels(save(tmp_path / "a.png", VOC), colours="voc").spec
    with pytest.raises(InputError, match="id 77 has no colour in the colour table voc"):
        write_labels(tmp_path / "b.png", np.full((2, 2), 77, np.int32), spec)
    assert not (tmp_path / "b.png").exists()


def test_a_folder_of_colours_is_refined_and_scored_against_ids(tmp_path: Path) -> None:
    truth = np.zeros((64, 64), np.int32)
    truth[16:48, 16:48] = 12
    photo = np.where(truth[..., None] == 12, [200, 40, 40], [40, 90, 160])
    coarse = np.roll(truth, 6, axis=1)
    colours = np.array([read_colours("voc").colours[i] for i in range(21)], np.uint8)
    save(tmp_path / "photos" / "a.png", photo)
    save(tmp_path / "masks" / "a.png", colours[coarse])
    save(tmp_path / "truth" / "a.png", truth)
    config = load_config(
        None,
        [
            "backend.name=tests.fakes:load",
            "labels.colours=voc",
            "prompts.mask=false",
            "engine.workers=1",
        ],
    )
    pairs = find_pairs(tmp_path / "photos", tmp_path / "masks")
    out = tmp_path / "out"
    run = refine_folder(pairs, out, config)
    assert not run.failures
    refined = np.array(PIL.Image.open(out / "a.png"))
    assert np.array_equal(refined, colours[truth])
    options = EvaluateOptions(colours="voc", resamples=0)
    found = evaluate([tmp_path / "masks", out], tmp_path / "truth", options)
    before, after = (method.values["mIoU"] for method in found.methods)
    assert before < 0.9
    assert after == 1


def test_a_protocol_of_its_own_colours_takes_no_table() -> None:
    with pytest.raises(ConfigError, match=r"reads RGB as id = R \+ 256 G, got the colour table"):
        EvaluateOptions(protocol="luss-50", colours="voc").resolve()


def test_what_is_built_in_is_what_the_messages_offer() -> None:
    for name in BUILT_IN:
        assert read_colours(name).title == name
