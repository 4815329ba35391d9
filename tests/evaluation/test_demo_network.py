"""``uosam demo --network``: a real network on photographs, with the weights of its package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from typer.testing import CliRunner

from uosam.backends.imagenet import weights
from uosam.cli import build_app
from uosam.config import examples_folder
from uosam.errors import InputError
from uosam.evaluation.demo import load_demo, run_network_demo
from uosam.io.codecs import read_labels
from uosam.report.sheet import COLUMN, TITLES

pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")
if importlib.util.find_spec(weights.PACKAGE) is None:
    pytest.skip("needs pip install 'uosam[imagenet]'", allow_module_level=True)

FAKE = "backend.name=tests.fakes:load"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path / "photos"
    folder.mkdir()
    with PIL.Image.open(examples_folder() / "images" / "chelsea.jpg") as cat:
        cat.resize((226, 150)).save(folder / "cat.jpg")
    PIL.Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(folder / "dark.png")
    return folder


def test_photographs_are_labelled_refined_scored_and_drawn(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    gt, out = tmp_path / "gt", tmp_path / "out"
    gt.mkdir()
    for name, hw, label in (("cat", (150, 226), 8), ("dark", (60, 90), 0)):
        PIL.Image.fromarray(np.full(hw, label, np.uint8)).save(gt / f"{name}.png")
    arguments = ["demo", str(out), "--network", str(photos), "--gt", str(gt), "-s", FAKE]
    arguments += ["-s", "evaluate.resamples=0"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    assert "found     cat 1 (pictures each)" in result.output
    assert "mIoU" in result.output
    assert 8 in read_labels(out / "refined" / "cat.png").labels
    assert not read_labels(out / "refined" / "dark.png").labels.any()
    with PIL.Image.open(out / "demo.png") as sheet:
        # Without a column for the truth.
        assert len(TITLES[:3]) * COLUMN < sheet.width < len(TITLES) * COLUMN


def test_names_are_those_of_the_vocabulary(photos: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("stone\nbeast; n02123045..n02124075\n")
    (photos / "broken.jpg").write_bytes(b"no picture")
    demo = run_network_demo(photos, tmp_path / "out", load_demo(str(words), None, [FAKE]))
    assert demo.found == {"beast": 1}
    assert set(demo.result.failures) == {"broken"}
    assert demo.sheet is not None
    with pytest.raises(InputError, match="found nothing at nowhere"):
        run_network_demo(photos, tmp_path / "other", load_demo("nowhere"))
