"""Fixtures that every test file may use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from uosam.structures import Image, LabelMap

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is first imported, inside the tests


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """A picture of two shapes, its truth, and a coarse map of it.

    Attributes:
        image: (64, 96, 3) RGB; a red disc and a green box on blue, with a little noise.
        coarse: (64, 96) ids 0, 1, 2, shifted and blocky.
        target: (64, 96) ids 0, 1, 2, exact.
    """

    image: Image
    coarse: LabelMap
    target: LabelMap


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """Undo what a command in a test said of how much is to be told: it holds for the process."""
    logger = logging.getLogger("uosam")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with development data and golden files, which is not part of the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("UOSAM_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"no shared data: {folder} does not exist; set UOSAM_SHARED to its place")
    return folder


@pytest.fixture
def scene() -> Scene:
    """A fresh copy of the two-shape scene."""
    target = np.zeros((64, 96), np.int32)
    cv2.circle(target, (26, 30), 15, 1, cv2.FILLED)
    target[18:50, 58:84] = 2
    colours = np.array([[40, 60, 160], [200, 50, 40], [50, 180, 60]], np.int16)
    noise = np.random.default_rng(0).integers(-6, 7, (64, 96, 3))
    image = (colours[target] + noise).clip(0, 255).astype(np.uint8)
    blocky = np.roll(target, (1, 2), axis=(0, 1))[4::8, 4::8]
    coarse = np.repeat(np.repeat(blocky, 8, axis=0), 8, axis=1).astype(np.int32)
    return Scene(image=image, coarse=coarse, target=target)


@pytest.fixture(scope="session")
def training_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources of pictures with coloured shapes, and region maps of them."""
    root = tmp_path_factory.mktemp("train")
    generator = np.random.default_rng(0)
    for source, amount in (("shapes", 3), ("camvid", 1)):
        (root / source).mkdir()
        for index in range(amount):
            regions = np.full((96, 128), 11 if source == "camvid" else 0, np.uint8)
            cv2.circle(regions, (40 + 5 * index, 50), 26, 1, cv2.FILLED)
            regions[20:80, 85:120] = 2
            colours = generator.integers(0, 256, (12, 3))
            image = (colours[regions] + generator.integers(-8, 9, (96, 128, 3))).clip(0, 255)
            stem = root / source / f"{index:04d}"
            cv2.imwrite(f"{stem}.jpg", image.astype(np.uint8))
            cv2.imwrite(f"{stem}.0.png", regions)
            cv2.imwrite(f"{stem}.1.png", (regions == 1).astype(np.uint16))
    return root
