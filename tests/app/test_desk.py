"""What the app does with a picture, without a browser."""

from __future__ import annotations

import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from tests.conftest import Scene
from uosam.app.desk import INKS, KINDS, AppOptions, Click, Desk, levels_of, to_prompts
from uosam.app.folders import refine_archives, unpack
from uosam.backends.graphcut.backend import GraphCut
from uosam.cli import build_app
from uosam.errors import ConfigError, InputError
from uosam.io.codecs import read_labels
from uosam.structures import Caption, Image, Masks

FAKE = "tests.fakes:load"
OPTIONS = AppOptions(models=("graphcut", FAKE), most_pixels=100_000, most_pictures=4)


@pytest.fixture
def files(tmp_path: Path, scene: Scene) -> Path:
    PIL.Image.fromarray(scene.image).save(tmp_path / "a.png")
    PIL.Image.fromarray(scene.coarse.astype(np.uint8)).save(tmp_path / "mask.png")
    return tmp_path


def test_a_picture_and_a_mask_are_refined(files: Path, scene: Scene) -> None:
    desk = Desk(OPTIONS)
    sheet = desk.open_mask(desk.open_picture(files / "a.png"), files / "mask.png")
    np.testing.assert_array_equal(sheet.coarse, scene.coarse)
    done = desk.refine(sheet, FAKE, 0)
    assert done.result is not None
    assert sum(verdict.accepted for verdict in done.result.verdicts) == 2
    assert (done.result.ids != scene.coarse).any()
    assert sheet.result is None  # a new value; nobody else's changes


def test_clicks_become_objects(files: Path, scene: Scene) -> None:
    desk = Desk(OPTIONS)
    sheet = desk.open_picture(files / "a.png")
    with pytest.raises(InputError, match="no mask yet"):
        desk.refine(sheet, "graphcut", 0)
    with pytest.raises(InputError, match="no mask is clicked"):
        desk.add_object(sheet)
    sheet = desk.click(sheet, Click(x=26, y=30), "graphcut", 0)
    assert sheet.found is not None
    disc = scene.target == 1
    assert (sheet.found & disc).sum() / (sheet.found | disc).sum() > 0.8
    sheet = desk.add_object(sheet)
    assert sheet.clicks == ()
    for x, y in ((57, 17), (84, 50)):
        sheet = desk.click(sheet, Click(x=x, y=y, kind=KINDS[2]), "graphcut", 0)
        assert (sheet.found is None) == (x == 57)
    done = desk.refine(sheet, "graphcut", 0)
    assert done.result is not None
    assert set(np.unique(done.result.ids)) == {0, 1, 2}


def test_a_picture_is_encoded_for_its_first_click_alone(
    files: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(OPTIONS)
    seen: list[Image] = []
    embed = GraphCut.embed
    monkeypatch.setattr(GraphCut, "embed", lambda self, i: (seen.append(i), embed(self, i))[1])
    sheet = desk.open_picture(files / "a.png")
    for x in (10.0, 30.0):
        sheet = desk.click(sheet, Click(x=x, y=20.0), "graphcut", 0)
    assert len(seen) == 1
    desk.click(desk.open_picture(files / "a.png"), Click(x=9, y=9), "graphcut", 0)
    assert len(seen) == 2  # another sheet, another person


def test_clicks_are_one_question() -> None:
    clicks = [Click(x=1, y=2), Click(x=3, y=4, kind=KINDS[1])]
    corners = [Click(x=9, y=1, kind=KINDS[2]), Click(x=2, y=8, kind=KINDS[2])]
    found = to_prompts([*clicks, *corners], 3)
    assert found is not None
    assert found.points.tolist() == [[[1, 2], [3, 4]]]
    assert found.point_labels.tolist() == [[1, 0]]
    assert found.boxes is not None
    assert found.boxes.tolist() == [[2, 1, 9, 8]]
    assert found.levels is not None
    assert found.levels.tolist() == [[3]]
    assert to_prompts(corners[:1], 0) is None
    assert (levels_of("graphcut"), levels_of("mylab.boxes:load")) == (6, 0)


def test_each_ink_is_an_object_at_whatever_size(files: Path) -> None:
    desk = Desk(OPTIONS)
    sheet = desk.open_picture(files / "a.png")
    layer = np.zeros((32, 48, 4), np.uint8)  # half the size of the picture
    layer[5:20, 5:20] = (*INKS[0], 255)
    layer[5:20, 30:40] = (*INKS[2], 255)
    layer[25:30] = (*INKS[1], 90)  # the soft edge of a stroke
    drawn = desk.take_drawing(sheet, [layer])
    assert drawn.coarse.shape == (64, 96)
    assert np.count_nonzero(drawn.coarse == 1) == 4 * 15 * 15
    assert set(np.unique(drawn.coarse)) == {0, 1, 3}
    with pytest.raises(InputError, match="nothing was drawn"):
        desk.take_drawing(sheet, [layer * 0])


def test_what_does_not_fit_is_one_line(files: Path) -> None:
    desk = Desk(OPTIONS)
    PIL.Image.new("RGB", (400, 300)).save(files / "large.png")
    with pytest.raises(InputError, match="million pixels, the app takes"):
        desk.open_picture(files / "large.png")
    (files / "bad.png").write_text("no picture")
    with pytest.raises(InputError, match="not a picture"):
        desk.open_picture(files / "bad.png")
    sheet = desk.open_picture(files / "a.png")
    PIL.Image.new("L", (3, 3)).save(files / "small.png")
    with pytest.raises(InputError, match="size of the picture"):
        desk.open_mask(sheet, files / "small.png")
    with pytest.raises(ConfigError, match="the app offers graphcut"):
        desk.click(sheet, Click(x=1, y=1), "tests.other:load", 0)
    with pytest.raises(InputError, match="no result yet"):
        desk.put_into_words(sheet)
    for limit in ({"models": ()}, {"most_pixels": 0}):
        with pytest.raises(ConfigError, match=r"app needs a model|most_pixels"):
            AppOptions(**limit)  # type: ignore[arg-type]


class Speaker:
    def caption(self, image: Image, masks: Masks) -> list[Caption]:
        return [Caption(text=f"{int(mask.sum())} pixels") for mask in masks]


def test_words_are_those_of_the_models_that_are_given(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uosam.app.words as module

    asked = []

    def named(image: Image, mask: object, vocabulary: str, **more: object) -> dict[int, object]:
        asked.append((vocabulary, more["checkpoint"]))
        return {1: types.SimpleNamespace(text="disc")}

    monkeypatch.setattr(module, "name", named)
    monkeypatch.setitem(
        sys.modules, "speaker", types.SimpleNamespace(load=lambda options: Speaker())
    )
    real = module.caption
    monkeypatch.setattr(
        module,
        "caption",
        lambda image, mask, checkpoint, device: real(image, mask, captioner="speaker:load"),
    )
    desk = Desk(AppOptions(models=("graphcut",), names="imagenet", captions="folder"))
    sheet = desk.open_mask(desk.open_picture(files / "a.png"), files / "mask.png")
    words = desk.put_into_words(desk.refine(sheet, "graphcut", 0))
    assert [row[:2] for row in words] == [["1", "disc"], ["2", ""]]
    assert all(row[2].endswith("pixels") for row in words)
    sheet = desk.refine(sheet, "graphcut", 0)
    for said in ("cocostuff", " disc, dot ,", " "):
        desk.put_into_words(sheet, said)
    expected = ["imagenet", "cocostuff", ["disc", "dot"], "imagenet"]
    assert asked == [(vocabulary, None) for vocabulary in expected]


def test_depth_is_drawn(files: Path) -> None:
    desk = Desk(OPTIONS)
    sheet = desk.open_picture(files / "a.png")
    depth = np.linspace(1000, 5000, 96).astype(np.uint16)
    PIL.Image.fromarray(np.repeat(depth[None], 64, axis=0)).save(files / "depth.png")
    drawn = desk.view_depth(sheet, files / "depth.png")
    assert drawn.shape == (64, 96, 3)
    assert drawn[:, 0].mean() > drawn[:, -1].mean()


def archive(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def test_archives_there_and_back(files: Path) -> None:
    picture, mask = ((files / name).read_bytes() for name in ("a.png", "mask.png"))
    pictures = archive(files / "p.zip", {"x/a.png": picture, "x/b.png": picture, "x/readme": b""})
    masks = archive(files / "m.zip", {"x/a.png": mask, "x/b.png": b"bad", "__MACOSX/x/a.png": b"x"})
    seen: list[tuple[int, int]] = []
    (files / "work").mkdir()
    path, lines = refine_archives(
        pictures, masks, files / "work", FAKE, OPTIONS, lambda *done: seen.append(done)
    )
    assert seen == [(1, 2), (2, 2)]
    assert any(line.startswith("failed: x/b") for line in lines)
    assert not any(str(files) in line for line in lines)
    with zipfile.ZipFile(path) as file:
        assert {"x/a.png", "report.html", "manifest.jsonl"} <= set(file.namelist())
        assert "summary.json" not in file.namelist()  # tells places of this machine
        file.extract("x/a.png", files / "back")
    assert read_labels(files / "back" / "x" / "a.png").labels.shape == (64, 96)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"../a.png": b"x"}, "holds the name"),
        ({"/a.png": b"x"}, "holds the name"),
        ({"a.txt": b"x"}, "holds no files of"),
        ({f"{i}.png": b"x" for i in range(5)}, "4 files at most"),
        ({"a.png": b"\0" * 5_000_000}, "larger than 4 MB"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, entries: dict[str, bytes], message: str) -> None:
    options = AppOptions(most_pictures=4, most_megabytes=1)
    with pytest.raises(InputError, match=message):
        unpack(archive(tmp_path / "a.zip", entries), tmp_path / "out", (".png",), options)
    assert not (tmp_path / "a.png").exists()


def test_no_archive_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("no archive")
    with pytest.raises(InputError, match="expected a ZIP archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out", (".png",), AppOptions())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "99999"], "--port must be 0 to 65535, got 99999"),
        (["--megapixels", "nan"], "--megapixels must be above 0"),
        (["--model", "nosuch"], "unknown backend 'nosuch'"),
        (["--names", "nosuch"], "--names must be a folder of a model"),
        (["--captions", "nosuch"], "--captions must be a folder of a model"),
    ],
)
def test_what_cannot_be_served_is_told_at_the_start(arguments: list[str], said: str) -> None:
    found = CliRunner().invoke(build_app(), ["app", *arguments])
    assert isinstance(found.exception, ConfigError)
    assert said in str(found.exception)
