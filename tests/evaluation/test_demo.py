"""``uosam demo`` and the function behind it."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import uosam
import uosam.cli
from tests.conftest import Scene
from uosam.config import examples_folder, load_config
from uosam.errors import ConfigError, InputError
from uosam.evaluation.demo import run_demo
from uosam.io.codecs import read_labels
from uosam.report.sheet import COLUMN, TITLES, Panels, encode_sheet

CONFIG = load_config(None, ["backend.name=tests.fakes:load"])


@pytest.fixture
def examples(tmp_path: Path, scene: Scene) -> Path:
    """Two small examples with a known truth."""
    top = tmp_path / "examples"
    for name, array in (
        ("images", scene.image),
        ("coarse", scene.coarse),
        ("ground_truth", scene.target),
    ):
        (top / name).mkdir(parents=True)
        for stem in "ab":
            PIL.Image.fromarray(array.astype(np.uint8)).save(top / name / f"{stem}.png")
    return top


def test_the_packaged_examples_are_refined_scored_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(uosam.cli, "COMMANDS", ("demo", "config"))
    monkeypatch.setattr(sys, "argv", ["uosam", "demo", str(out)])
    with pytest.raises(SystemExit) as done:
        uosam.cli.main()
    assert not done.value.code
    text = capsys.readouterr().out
    names = [path.stem for path in (examples_folder() / "images").iterdir()]
    assert len(names) >= 4
    for name in names:
        assert name in text
        assert (out / "overlays" / f"{name}.jpg").is_file()
        refined = read_labels(out / "masks" / f"{name}.png")
        assert refined.spec.codec == "luss"
    assert "mean" in text
    assert (out / "levels.png").is_file()
    with PIL.Image.open(out / "demo.png") as sheet:
        assert sheet.width > len(TITLES) * COLUMN


def test_scores_are_means_over_objects(tmp_path: Path, examples: Path) -> None:
    demo = run_demo(tmp_path / "out", CONFIG, examples=examples)
    first, second = demo.pictures
    assert (first.name, first.objects, demo.mean.objects) == ("a", 2, 4)
    assert first.refined[0] > first.coarse[0]
    assert demo.mean.refined == pytest.approx(first.refined)
    assert demo.mean.seconds == pytest.approx((first.seconds + second.seconds) / 2)


def test_a_second_demo_replaces_the_first(tmp_path: Path, examples: Path) -> None:
    out = tmp_path / "out"
    first = run_demo(out, CONFIG, examples=examples)
    (out / "masks" / "a.png").unlink()
    other = load_config(None, ["backend.name=tests.fakes:load", "local_region.enabled=false"])
    kept = run_demo(out, other, examples=examples)
    assert kept.mean.refined == kept.mean.coarse
    again = run_demo(out, CONFIG, examples=examples)
    assert again.mean.refined == first.mean.refined
    assert again.mean.seconds > 0


def test_folders_of_others_are_left_alone(tmp_path: Path, examples: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="empty or hold an earlier demo"):
        run_demo(tmp_path / "out", CONFIG, examples=examples)
    assert (tmp_path / "out" / "letter.txt").read_text() == "dear"
    with pytest.raises(ConfigError, match="must be a folder"):
        run_demo(tmp_path / "out" / "letter.txt", CONFIG, examples=examples)


def test_a_folder_that_cannot_be_read(
    tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        run_demo(tmp_path / "out", CONFIG, examples=examples)


def test_a_damaged_example_is_named(tmp_path: Path, examples: Path) -> None:
    (examples / "images" / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"example b must be refined.*0 bytes"):
        run_demo(tmp_path / "out", CONFIG, examples=examples)


def test_a_package_without_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "lib" / "uosam"
    package.mkdir(parents=True)
    monkeypatch.setattr(uosam, "__file__", str(package / "__init__.py"))
    with pytest.raises(InputError, match="expected the example pictures"):
        examples_folder()
    shutil.copytree(Path(__file__).parents[2] / "examples", package / "examples")
    assert examples_folder() == package / "examples"


@pytest.mark.parametrize("hw", [(20, 60), (60, 20), (1, 1), (900, 700)])
def test_a_sheet_takes_pictures_of_any_shape(hw: tuple[int, int]) -> None:
    labels = np.zeros(hw, np.int32)
    labels[: hw[0] // 2] = 3
    row = Panels(
        image=np.full((*hw, 3), 90, np.uint8),
        maps=(labels, labels, labels),
        scores=((0.5, 0.25), (1.0, 1.0)),
        background=0,
    )
    with PIL.Image.open(io.BytesIO(encode_sheet([row, row]))) as sheet:
        assert sheet.format == "PNG"
        assert sheet.height < 1200
