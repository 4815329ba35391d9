"""Folders handed on and taken back, as a person does it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import uosam.cli
from tests.conftest import Scene
from uosam.api.coco import from_coco
from uosam.api.refiner import Refiner
from uosam.config import load_config
from uosam.errors import ConfigError, InputError
from uosam.interchange.coco import read_coco, read_masks
from uosam.interchange.labelstudio import encode_brush
from uosam.io.codecs import read_labels
from uosam.regions.records import encode_rle
from uosam.runs.exchange.coco_masks import number_objects, refine_coco
from uosam.runs.exchange.export import export_folder, import_folder
from uosam.runs.exchange.masks import open_masks, read_names
from uosam.structures import IGNORE

FAKE = "backend.name=tests.fakes:load"
Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(uosam.cli, "COMMANDS", ("refine", "export"))

    def run(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["uosam", *shlex.split(line)])
        code = 0
        try:
            uosam.cli.main()
        except SystemExit as done:
            code = int(done.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def folders(tmp_path: Path, scene: Scene) -> Path:
    masks = scene.coarse.astype(np.uint8)
    masks[:4, :4] = 255
    for name in ("n01/a", "n02/b"):
        for folder, array in (("images", scene.image), ("masks", masks)):
            path = tmp_path / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(array).save(path)
    (tmp_path / "names.txt").write_text("disc\nbox\n")
    return tmp_path


def test_a_folder_there_and_back(folders: Path, command: Run) -> None:
    code, out, _ = command("export masks --to coco --classes names.txt")
    assert code == 0
    assert "masks-coco" in out
    code, out, _ = command("export masks-coco back --from coco")
    assert code == 0
    assert (folders / "back" / "names.csv").read_text() == 'id,name\n1,"disc"\n2,"box"\n'
    for name in ("n01/a", "n02/b"):
        before = read_labels(folders / "masks" / f"{name}.png").labels
        after = read_labels(folders / "back" / f"{name}.png")
        np.testing.assert_array_equal(after.labels, before)
        assert after.spec.codec == "index8"
    assert read_names(folders / "back" / "names.csv") == {1: "disc", 2: "box"}
    code, _, error = command("export masks --to coco")
    assert (code, error.count("\n")) == (2, 1)
    assert "not empty" in error
    assert command("export masks --to coco --overwrite")[0] == 0


def test_pictures_are_copied_or_linked(folders: Path) -> None:
    for link in (False, True):
        out = folders / f"voc-{link}"
        done = export_folder(folders / "masks", out, "voc", images=folders / "images", link=link)
        assert done.count == 2
        picture = out / "JPEGImages" / "n01" / "a.png"
        assert picture.is_symlink() == link
        assert picture.read_bytes() == (folders / "images" / "n01" / "a.png").read_bytes()


def test_bad_files_spoil_themselves(folders: Path, command: Run) -> None:
    (folders / "masks" / "n01" / "a.png").write_bytes(b"x")
    PIL.Image.new("L", (3, 3)).save(folders / "masks" / "alone.png")
    code, out, _ = command("export masks out --to mask2former --images images")
    assert code == 1
    assert "failed             2" in out
    assert "failed: " in out
    assert [p.name for p in (folders / "out").rglob("*.png")] != []
    assert not (folders / "out" / "annotations_detectron2" / "n01" / "a.png").exists()
    (folders / "masks" / "n02" / "b.png").write_bytes(b"x")
    with pytest.raises(InputError, match="no mask can be read"):
        open_masks(folders / "masks" / "n02")


def test_masks_that_go_between_two_looks_are_failures(folders: Path) -> None:
    found = open_masks(folders / "masks")
    (folders / "masks" / "n01" / "a.png").write_bytes(b"x")
    assert [picture.name for picture in found.read()] == ["n02/b"]
    assert len(found.failures) == 1


def test_a_picture_of_another_size_is_named(folders: Path) -> None:
    PIL.Image.new("RGB", (5, 5)).save(folders / "images" / "n01" / "a.png")
    found = open_masks(folders / "masks", images=folders / "images")
    assert "not of the size" in next(iter(found.failures.values()))


def test_settings_of_the_run_are_those_of_the_export(folders: Path) -> None:
    (folders / "masks" / "config.yaml").write_text("labels: {background: none}\n")
    assert open_masks(folders / "masks").legend.background is None
    assert open_masks(folders / "masks").legend.ids == (0, 1, 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("export masks", "one of --to"),
        ("export masks --to coco --from coco", "one of --to"),
        ("export masks --to cococo", "did you mean 'coco'"),
        ("export nothing --to coco", "expected a folder of masks"),
        ("export images/n01/a.png --to coco", "expected a folder of masks"),
        ("export masks --to voc", "give --images FOLDER"),
        ("export masks --to coco --tolerance 1", "leave out the tolerance"),
        ("export masks --to yolo --tolerance=-1", "from 0 to 1000"),
        ("export masks masks/out --to coco", "must not be or lie in"),
        ("export masks names.txt --to coco", "is a file"),
        ("export nothing --from coco", "found none"),
        ("export names.txt --from coco", "expected JSON"),
        ("export masks --to coco --classes nothing.txt", "cannot be read"),
        ("export masks --to coco --classes images/n01/a.png", "text file of class names"),
        ("export empty --to coco", "found none"),
    ],
)
def test_errors_are_one_line(folders: Path, command: Run, line: str, message: str) -> None:
    (folders / "empty").mkdir()
    code, _, error = command(line)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_ids_beyond_16_bits_come_back_as_arrays(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    labels = np.array([[0, 70_000], [-1, 300]], np.int32)
    np.save(tmp_path / "masks" / "a.npy", labels)
    export_folder(tmp_path / "masks", tmp_path / "out", "labelstudio")
    import_folder(tmp_path / "out", tmp_path / "back", "labelstudio")
    np.testing.assert_array_equal(read_labels(tmp_path / "back" / "a.npy").labels, labels)
    labels[0, 1] = 400
    np.save(tmp_path / "masks" / "a.npy", labels)
    export_folder(tmp_path / "masks", tmp_path / "out", "coco", overwrite=True)
    import_folder(tmp_path / "out", tmp_path / "wide", "coco")
    found = read_labels(tmp_path / "wide" / "a.png")
    np.testing.assert_array_equal(found.labels, labels)
    assert found.spec.codec == "index16"


@pytest.fixture
def coco(folders: Path, scene: Scene) -> Path:
    """Two objects of one class that overlap, and a crowd; two pictures, one of which is missing."""
    lower = scene.coarse == 2
    upper = scene.coarse == 1
    crowd = np.zeros_like(upper)
    crowd[:3] = True
    notes = [
        {"id": 9, "image_id": 1, "category_id": 4, "segmentation": encode_rle(lower), "mine": 1},
        {"id": 8, "image_id": 1, "category_id": 4, "iscrowd": 1, "segmentation": encode_rle(crowd)},
        {"id": 7, "image_id": 1, "category_id": 4, "segmentation": encode_rle(upper)},
        {"id": 6, "image_id": 2, "category_id": 4, "segmentation": encode_rle(upper)},
    ]
    images = [
        {"id": 1, "file_name": "n01/a.png", "height": 64, "width": 96},
        {"id": 2, "file_name": "gone.jpg", "height": 64, "width": 96},
    ]
    document = {
        "info": {"year": 2017},
        "images": images,
        "categories": [{"id": 4, "name": "thing"}],
        "annotations": notes,
    }
    path = folders / "instances.json"
    path.write_text(json.dumps(document))
    return path


def test_coco_masks_are_refined_object_by_object(folders: Path, coco: Path, command: Run) -> None:
    line = "refine images instances.json out --model tests.fakes:load"
    code, out, _ = command(line)
    assert code == 1  # the picture that is gone
    assert "gone.jpg: no picture of this name" in out
    labels = read_labels(folders / "out" / "n01" / "a.png").labels
    document = json.loads((folders / "out" / "instances.json").read_text())
    assert document["info"] == {"year": 2017}
    before = json.loads(coco.read_text())["annotations"]
    after = document["annotations"]
    assert [note["id"] for note in after] == [9, 8, 7, 6]
    assert after[1] == before[1]
    assert after[3] == before[3]
    assert after[0]["mine"] == 1
    assert after[0]["segmentation"] != before[0]["segmentation"]
    read = read_coco(folders / "out" / "instances.json")
    masks = read_masks(read.pictures[0], "x")
    np.testing.assert_array_equal(masks[0], labels == 1)
    np.testing.assert_array_equal(masks[2], labels == 3)
    assert after[0]["area"] == np.count_nonzero(labels == 1)
    assert "done before" in command(line)[2]  # the same command goes on


def test_coco_in_python_is_one_call(folders: Path, coco: Path) -> None:
    refiner = Refiner("tests.fakes:load")
    result = refiner(folders / "images" / "n01" / "a.png", coco)
    assert set(np.unique(result.labels)) == {0, 1, 3}
    assert result.spec.names == {1: "thing", 3: "thing"}
    result.save(folders / "result.png")
    assert read_labels(folders / "result.png").labels.max() == 3
    with pytest.raises(InputError, match="give the path"):
        refiner(np.zeros((64, 96, 3), np.uint8), coco)
    with pytest.raises(InputError, match="expected one entry"):
        from_coco(coco, "other.png")


def test_coco_settings_and_pictures_that_do_not_fit(folders: Path, coco: Path) -> None:
    config = load_config(overrides=[FAKE, "labels.background=3"])
    with pytest.raises(ConfigError, match=r"labels\.background"):
        refine_coco(folders / "images", coco, folders / "out", config)
    plain = load_config(overrides=[FAKE])
    with pytest.raises(ConfigError, match="must not be or lie in"):
        refine_coco(folders / "images", coco, folders / "images" / "out", plain)
    with pytest.raises(InputError, match="no picture of it can be refined"):
        refine_coco(folders / "masks" / "n02", coco, folders / "out", plain)
    picture = read_coco(coco).pictures[0]
    many = replace(picture, annotations=[picture.annotations[0]] * 65535)
    with pytest.raises(InputError, match="more than 65534"):
        number_objects(many, "x")


def test_ignored_pixels_survive_an_export(folders: Path) -> None:
    export_folder(
        folders / "masks", folders / "out", "labelme", images=folders / "images", tolerance=0
    )
    import_folder(folders / "out", folders / "back", "labelme")
    assert (read_labels(folders / "back" / "n01" / "a.png").labels[:4, :4] == IGNORE).all()


def test_a_coco_size_that_is_not_the_picture_s_is_told_as_such(folders: Path, coco: Path) -> None:
    document = json.loads(coco.read_text())
    document["images"][0]["height"] = 63
    document["annotations"] = document["annotations"][3:]
    coco.write_text(json.dumps(document))
    plain = load_config(overrides=[FAKE])
    with pytest.raises(InputError, match=r"instances\.json: n01/a\.png: height and width must be"):
        refine_coco(folders / "images", coco, folders / "out", plain)


def test_two_pictures_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(
        json.dumps(
            [
                {
                    "data": {"image": f"/data/local-files/?d=a.{suffix}"},
                    "annotations": [
                        {
                            "result": [
                                {
                                    "type": "brushlabels",
                                    "original_width": 3,
                                    "original_height": 1,
                                    "value": {
                                        "rle": encode_brush(np.array([[False, True, False]])),
                                        "brushlabels": ["cat"],
                                    },
                                }
                            ]
                        }
                    ],
                }
                for suffix in ("jpg", "png")
            ]
        )
    )
    with pytest.raises(InputError, match=r"'a\.png' comes twice"):
        import_folder(tmp_path / "tasks.json", tmp_path / "out", "labelstudio")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("export masks out --to coco --layout hf", "--layout is for --to pseudo"),
        ("export masks out --to voc --images images --keep 0.5", "--keep is for --to pseudo"),
        ("export masks out --to coco --link", "--link is for formats that keep pictures"),
        ("export masks out --from coco --link", "--link is for formats that keep pictures"),
        (
            "refine images/n01/a.png masks/n01/a.png one.png --shard 1/2",
            "--shard and --engine are for folders",
        ),
    ],
)
def test_options_without_effect_are_refused(
    folders: Path, command: Run, line: str, said: str
) -> None:
    code, _, shown = command(line)
    assert code == 2
    assert said in shown
