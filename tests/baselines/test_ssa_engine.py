"""SSA-engine names segments as the recorded run of its public program does."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from uosam.baselines.ssa_engine import most_frequent, name_segments, refine_ssa_engine

from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.errors import InputError
from uosam.io.images import read_image

ADE = {0: "wall", 7: "bed ", 19: "chair", 108: "plaything", 145: "shower"}
COCO = {9: "traffic light", 36: "skateboard", 56: "chair", 112: "wall"}


def test_the_recorded_decisions(shared: Path) -> None:
    folder = shared / "golden/ssa"
    golden = json.loads((folder / "engine_decisions.json").read_text())["masks"]
    stored = np.load(folder / "engine.npz")
    image = read_image(folder / "engine.png")
    turn = {"mask": -1}

    def phrases(crop: np.ndarray) -> Sequence[str]:
        turn["mask"] += 1
        case = golden[turn["mask"]]
        if "caption_crop_hw" in case:
            assert list(crop.shape[:2]) == case["caption_crop_hw"]
            bgr = np.ascontiguousarray(crop[..., ::-1])
            assert zlib.crc32(bgr.tobytes()) == case["caption_crop_crc32"]
        return list(case["noun_chunks"]) if "noun_chunks" in case else []

    def draw(kind: str, name: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{kind}/{turn['mask']}/{name}".encode()))

    def rank(crop: np.ndarray, names: Sequence[str]) -> np.ndarray:
        assert list(crop.shape[:2]) == golden[turn["mask"]]["clip_crop_hw"]
        return np.array(
            [np.float32(20 + 2 * draw("clip", name).standard_normal()) for name in names]
        )

    def segment(crop: np.ndarray, names: Sequence[str]) -> np.ndarray:
        assert list(crop.shape[:2]) == golden[turn["mask"]]["clipseg_crop_hw"]
        maps = [draw("clipseg", name).standard_normal((8, 8)) for name in names]
        grids = torch.tensor(np.array(maps), dtype=torch.float32)[:, None]
        for size in ((512, 512), crop.shape[:2]):
            grids = torch.nn.functional.interpolate(grids, size, mode="bilinear")
        return grids[:, 0].numpy()

    closed = [(stored["ade"], ADE), (stored["coco"], COCO)]
    decisions = name_segments(image, stored["masks"], closed, rank, segment, phrases)
    assert len(decisions) == len(golden) == 8
    for decision, case in zip(decisions, golden, strict=True):
        assert sorted(decision.candidates) == case["candidates"]
        assert list(decision.class_proposals) == case["class_proposals"]
        assert decision.class_name == case["class_name"]


def test_an_empty_segment_is_refused() -> None:
    with pytest.raises(InputError, match="at least one pixel"):
        most_frequent(np.zeros((3, 3), np.int32), np.zeros((3, 3), bool))


def test_the_words_choose_between_the_two_commonest_labels(scene: Scene, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("tomato\ngrass\nsea\n")
    # Half of the red disc was taken for grass, a little more of it for the sea.
    coarse = scene.target.copy()
    disc = scene.target == 1
    left = np.arange(coarse.shape[1]) < 26
    coarse[disc & left] = 2
    options = {"vocabulary": str(words), "model": "tests.text_fakes:load", "grid": 8}
    named = refine_ssa_engine(scene.image, coarse, FakeBackend(), **options)
    inner = cv2.erode(disc.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert (named[inner] == 1).all()
    assert (named[scene.target == 2] == 2).all()
    assert (named[scene.target == 0] == coarse[scene.target == 0]).all()
    with pytest.raises(InputError, match="label map must be"):
        refine_ssa_engine(scene.image, coarse.astype(np.uint8), FakeBackend(), **options)
