"""Any semantic segmentor of transformers gives scores, from its folder alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests import tiny_folders
from tests.conftest import Scene
from uosam.backends.text import segmentor
from uosam.errors import BackendError, InputError
from uosam.io.images import read_image


def test_segformer_answers_as_published(shared: Path) -> None:
    folder = shared / "golden/ssa"
    golden = np.load(folder / "segformer.npz")
    model = segmentor.load(folder / "models/segformer", device="cpu")
    picture = read_image(folder / "picture.png")
    scores = model(picture)
    assert scores.shape == (7, 90, 120)
    assert (scores.argmax(0) != golden["map_rgb_corners_off"]).sum() <= 5
    with torch.inference_mode():
        logits = model.network(**model.prepare.call(picture)).logits[0].numpy()
    np.testing.assert_allclose(logits, golden["logits_rgb"], atol=1e-4)
    corners = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], (90, 120), mode="bilinear", align_corners=True
    )
    assert (corners[0].argmax(0).numpy() != golden["map_rgb"]).sum() <= 5


@pytest.mark.parametrize("kind", ["segformer", "upernet", "mask2former", "oneformer", "eomt"])
def test_every_kind_gives_scores(tmp_path: Path, scene: Scene, kind: str) -> None:
    model = segmentor.load(getattr(tiny_folders, kind)(tmp_path), device="cpu")
    assert list(model.names.values()) == list(tiny_folders.CLASSES)
    scores = model(scene.image)
    assert scores.shape == (5, 64, 96)
    assert scores.dtype == np.float32
    assert scores.min() >= 0
    assert scores.std() > 1e-6
    np.testing.assert_array_equal(model(scene.image), scores)
    assert not np.array_equal(model(scene.image[::-1].copy()), scores)


def test_what_is_no_segmentor(shared: Path) -> None:
    with pytest.raises(BackendError, match=r"semantic segmentor \(segformer, .*got 'clip'"):
        segmentor.load(shared / "golden/ssa/models/clip")
    model = segmentor.load(shared / "golden/ssa/models/segformer", device="cpu")
    with pytest.raises(InputError, match="a picture must be"):
        model(np.zeros((3, 3), np.uint8))


def test_an_old_library_is_told(tmp_path: Path, scene: Scene) -> None:
    model = segmentor.load(tiny_folders.eomt(tmp_path), device="cpu")
    old = segmentor.Segmentor(
        network=model.network,
        prepare=segmentor.Preparation(
            call=model.prepare.call, process=lambda outputs, target_sizes: None
        ),
        device=model.device,
    )
    with pytest.raises(BackendError, match="newer transformers"):
        old(scene.image)
