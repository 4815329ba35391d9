"""Segmenters that are asked in words give logits at the size of the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import tiny_folders
from tests.conftest import Scene
from uosam.backends.text import segmenter
from uosam.errors import BackendError
from uosam.io.images import read_image


def test_clipseg_answers_as_published(shared: Path) -> None:
    folder = shared / "golden/ssa"
    golden = np.load(folder / "clipseg.npz")
    model = segmenter.load(folder / "models/clipseg", device="cpu")
    picture = read_image(folder / "picture.png")
    for number, words in (("three", ["a dog", "red car", "tree"]), ("two", ["wall", "sky"])):
        logits = model.segment(picture, words)
        np.testing.assert_allclose(logits, golden[f"logits_{number}"], atol=1e-3)
        assert (logits.argmax(0) != golden[f"map_{number}"]).sum() <= 20
    np.testing.assert_allclose(model.segment(picture, ["sky"])[0], logits[1], atol=1e-5)
    assert model.segment(picture, []).shape == (0, 90, 120)


def test_sam3_is_asked_one_word_at_a_time(tmp_path: Path, scene: Scene) -> None:
    model = segmenter.load(tiny_folders.sam3(tmp_path), device="cpu")
    logits = model.segment(scene.image, ["dog", "cat"])
    assert logits.shape == (2, 64, 96)
    assert np.abs(logits[0] - logits[1]).max() > 1e-5
    np.testing.assert_allclose(model.segment(scene.image, ["cat"])[0], logits[1], atol=1e-6)


def test_what_is_no_text_segmenter(shared: Path) -> None:
    with pytest.raises(
        BackendError, match=r"text-prompted segmenter \(clipseg, sam3\), got 'clip'"
    ):
        segmenter.load(shared / "golden/ssa/models/clip")
