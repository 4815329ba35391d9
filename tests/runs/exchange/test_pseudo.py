"""``uosam export --to pseudo`` from a run of refine."""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import uosam.cli
from tests.conftest import Scene
from uosam.config import load_config
from uosam.errors import InputError
from uosam.interchange.pseudo.labels import PseudoOptions
from uosam.io.codecs import read_labels
from uosam.io.pairs import find_pairs
from uosam.runs.exchange.pseudo import export_pseudo
from uosam.runs.refine import refine_folder

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def refined(tmp_path: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        for folder, array in (("images", scene.image), ("masks", scene.coarse.astype(np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            PIL.Image.fromarray(array).save(tmp_path / folder / f"{name}.png")
    config = load_config(overrides=["backend.name=tests.fakes:load", "engine.confidence=sure"])
    refine_folder(find_pairs(tmp_path / "images", tmp_path / "masks"), tmp_path / "out", config)
    return tmp_path


@pytest.fixture
def command(
    refined: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
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


def test_the_confidence_of_the_run_is_found(refined: Path, command: Run) -> None:
    code, out, _ = command("export out labels --to pseudo --images images --min-confidence 0.99")
    assert code == 0
    assert "confidence is calibrated" in out
    stored = np.array(PIL.Image.open(refined / "labels" / "ann_dir" / "train" / "a.png"))
    ids = read_labels(refined / "out" / "a.png").labels
    assert (stored == 255).any()
    assert (stored[stored != 255] == ids[stored != 255]).all()
    with (refined / "labels" / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["classes"] == "2"
    assert 0 < float(rows[0]["kept"]) < 1


def test_layouts_and_bad_files(refined: Path, command: Run) -> None:
    (refined / "sure" / "b.png").unlink()
    PIL.Image.new("L", (3, 3)).save(refined / "sure" / "c.png")
    code, out, _ = command(
        "export out labels --to pseudo --images images --layout imagenet-s --raw --confidence sure"
    )
    assert code == 1
    assert "failed             2" in out
    assert "expected a confidence map" in out
    rgb = np.array(PIL.Image.open(refined / "labels" / "train" / "a.png")).astype(int)
    ids = read_labels(refined / "out" / "a.png").labels
    np.testing.assert_array_equal(rgb[..., 0] + 256 * rgb[..., 1], ids)  # PASS cannot ignore
    (refined / "sure" / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="no mask can be used"):
        export_pseudo(refined / "out", refined / "new", refined / "images", PseudoOptions())


def test_pictures_that_go_between_two_looks_are_failures(
    refined: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uosam.runs.exchange.pseudo as module

    make = module.make_pseudo
    (gone,) = refined.glob("images/b.png")

    def then_remove(*arguments: object) -> object:
        gone.unlink(missing_ok=True)
        return make(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "make_pseudo", then_remove)
    done = export_pseudo(
        refined / "out", refined / "x", refined / "images", PseudoOptions(), layout="hf"
    )
    assert done.count == 2
    assert len(done.failures) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("export out x --to pseudo", "give --images"),
        ("export out x --to pseudo --images images --layout mmsegs", "did you mean 'mmseg'"),
        ("export out x --to pseudo --images images --confidence gone", "found none at gone"),
        ("export masks x --to pseudo --images images", "none is recorded"),
        ("export out x --to pseudo --images images --keep 2", "keep must be in"),
        ("export out sure/x --to pseudo --images images", "must not be or lie in"),
    ],
)
def test_errors_are_one_line(command: Run, line: str, message: str) -> None:
    code, _, error = command(line)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


def test_mmseg_takes_one_suffix(refined: Path) -> None:
    (refined / "images" / "a.png").rename(refined / "images" / "a.bmp")
    PIL.Image.open(refined / "images" / "b.png").save(refined / "images" / "a.bmp")
    with pytest.raises(InputError, match="one suffix"):
        export_pseudo(refined / "out", refined / "x", refined / "images", PseudoOptions())
