"""Segment Any RGBD's votes and OVSeg's classification, as the public code computes them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from uosam.baselines.ovseg import make_crops, refine_ovseg, score_maps, score_masks
from uosam.baselines.sad import refine_sad

from tests import tiny_folders
from tests.baselines.test_prompted import Scripted
from tests.conftest import Scene
from tests.fakes import FakeBackend
from tests.geometry.test_cloud import unpack
from uosam.backends.text.image_text import TEMPLATES, load
from uosam.baselines import ovseg
from uosam.errors import BackendError, InputError
from uosam.io.depth import DepthOptions
from uosam.structures import IGNORE, Guide


@pytest.mark.parametrize("kind", ["rgb", "depth"])
@pytest.mark.parametrize("name", ["scannet", "sailvos"])
def test_the_published_votes(shared: Path, name: str, kind: str) -> None:
    frame = np.load(shared / f"golden/sad/{name}_frame.npz")
    hw = frame["depth"].shape
    cell = hw[0] // frame["scores_cells"].shape[1]
    coarse = frame["scores_cells"].repeat(cell, axis=1).repeat(cell, axis=2).argmax(axis=0)
    masks = list(unpack(frame[f"masks_{kind}"], hw))
    backend = Scripted(masks, np.linspace(0.99, 0.9, len(masks)).tolist())
    image = np.zeros((*hw, 3), np.uint8)
    voted = refine_sad(
        image,
        coarse.astype(np.int32),
        backend,
        background=None,
        guide=Guide(image=image) if kind == "depth" else None,
        grid=4,
        uncovered="ignore" if (name, kind) == ("scannet", "depth") else "keep",
    )
    expected = frame[f"voted_{kind}"] if name == "scannet" else frame[f"voted_{kind}_sub"]
    step = 1 if name == "scannet" else 4
    assert np.array_equal(voted[::step, ::step], expected)


def test_proposals_come_from_the_guide(scene: Scene) -> None:
    noise = np.random.default_rng(0).integers(0, 256, scene.image.shape).astype(np.uint8)
    guide = Guide(image=scene.image)
    assert (
        refine_sad(noise, scene.coarse, FakeBackend(), guide=guide, grid=8) == scene.target
    ).mean() > 0.99
    with pytest.raises(InputError, match="a guide must be"):
        refine_sad(noise, scene.coarse, FakeBackend(), guide=Guide(image=scene.image[:9]))


def clip_of(shared: Path) -> str:
    return str(shared / "golden/ssa/models/clip")


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    return np.load(shared / "golden/sad/ovseg.npz")


def test_the_published_classification(shared: Path, golden: Any) -> None:
    facts = json.loads((shared / "golden/sad/ovseg.json").read_text())
    lines = "\n".join(TEMPLATES).encode()
    assert hashlib.sha256(lines).hexdigest() == facts["sha256_of_templates_joined_by_newline"]
    image = np.asarray(PIL.Image.open(shared / "golden/ssa/picture.png").convert("RGB"))
    crops = make_crops(image, golden["soft_masks"])
    assert np.array_equal(crops.valid, golden["valid"])
    assert np.array_equal(crops.boxes, golden["boxes"])
    pictures = crops.pictures.numpy()
    np.testing.assert_allclose(pictures[:, :, ::7, ::7], golden["regions_sub"], atol=1e-4)
    np.testing.assert_allclose(pictures.mean(axis=(2, 3)), golden["regions_mean"], atol=1e-4)
    assert np.array_equal(crops.masks.numpy()[:, :, ::7, ::7], golden["region_masks_sub"])
    texts, embed = ovseg._load_clip(clip_of(shared), tuple(facts["names"]), "cpu")
    np.testing.assert_allclose(texts, golden["text"][:-1], atol=1e-4)
    features = embed(crops.pictures)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, golden["image_features"], atol=1e-4)
    logits = score_masks(features, texts)
    np.testing.assert_allclose(logits, golden["logits"][:, :-1], atol=1e-3)
    soft, valid = golden["soft_masks"], golden["valid"]
    np.testing.assert_allclose(score_maps(soft, valid, logits), golden["semseg_w0"], atol=1e-4)
    clipped = soft.clip(1e-6, 1 - 1e-6)
    both = score_maps(clipped, valid, logits, golden["mask_class_logits"], 0.7)
    np.testing.assert_allclose(both, golden["semseg_w7"], atol=1e-4)


def test_masks_without_a_pixel_are_dropped() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    soft = np.full((2, 20, 30), 0.05, np.float32)
    assert make_crops(image, soft).pictures.shape == (0, 3, 224, 224)
    soft[1, 3, 4] = 0.5
    crops = make_crops(image, soft)
    assert crops.boxes.tolist() == [[4, 3, 5, 4]]
    black = (0 - torch.tensor(ovseg.MEAN)) / torch.tensor(ovseg.DEVIATION)
    assert torch.allclose(crops.pictures[0, :, 100, 100], black, atol=1e-4)


def test_proposals_are_named(shared: Path, scene: Scene) -> None:
    coarse = scene.coarse.copy()
    coarse[:6, :20] = IGNORE
    settings = {"clip": clip_of(shared), "device": "cpu", "grid": 8}
    words = ["dog", "red car", "tree"]
    labels = refine_ovseg(scene.image, coarse, FakeBackend(), words=words, **settings)
    assert np.array_equal(labels == IGNORE, coarse == IGNORE)
    for label in (1, 2):  # whatever a tiny network calls it, a shape has one name
        inside = labels[scene.target == label]
        assert np.bincount(inside[inside >= 0]).max() > 0.97 * inside.size

    class Nothing(FakeBackend):
        def decode(self, *rest: Any, **more: Any) -> Any:
            return super().decode(*rest, **{**more, "min_score": 1.0})

    kept = refine_ovseg(scene.image, coarse, Nothing(), words=words, **settings)
    assert np.array_equal(kept, coarse)
    with pytest.raises(InputError, match="two names or more to choose from, got 1"):
        refine_ovseg(scene.image, coarse, FakeBackend(), words=["dog"], **settings)


def test_the_whole_pipeline_over_public_networks(
    shared: Path, tmp_path: Path, scene: Scene
) -> None:
    folder = tiny_folders.mask2former(tmp_path / "m")
    words = tmp_path / "words.txt"
    words.write_text("dog\nred car\ntree\n")
    label = ovseg.load(str(folder), device="cpu", clip=clip_of(shared), vocabulary=str(words))
    scores = label(scene.image)
    assert scores.shape == (3, 64, 96)
    assert np.isfinite(scores).all()
    assert (scores >= 0).all()
    clip = load(clip_of(shared), device="cpu")
    assert clip.embed_texts(["dog"]).shape[0] == 1
    with pytest.raises(BackendError, match="must hold a MaskFormer or Mask2Former, got 'clip'"):
        ovseg.load(clip_of(shared), clip=clip_of(shared), vocabulary=str(words))


def test_depth_options_of_the_profiles() -> None:
    from uosam.config import load_config

    for name, encoding, colormap in (
        ("sad-scannet", "mm", "inferno"),
        ("sad-sailvos", "sailvos", "plasma"),
    ):
        found = load_config(name).depth
        assert found == DepthOptions(
            encoding=encoding, limits=(0, 100), holes="far", colormap=colormap
        )
