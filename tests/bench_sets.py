"""Small sets on disk and methods without a model, for the tests of benchmarks and ablations."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import yaml

from uosam.structures import Image, LabelMap


def write_set(folder: Path, pictures: int = 3) -> Path:
    """Write pictures of a disc and a box, their truth with an ignored rim, and blocky masks."""
    for index in range(pictures):
        target = np.zeros((64, 96), np.uint8)
        cv2.circle(target, (24 + 2 * index, 30), 13 + index, 1, cv2.FILLED)
        target[18:50, 58 : 84 - 3 * index] = 2
        colours = np.array([[40, 60, 160], [200, 50, 40], [50, 180, 60]], np.uint8)
        blocky = np.roll(target, (1, 2), axis=(0, 1))[4::8, 4::8]
        coarse = np.repeat(np.repeat(blocky, 8, axis=0), 8, axis=1)
        stored = target.copy()
        stored[:, :2] = 255
        for kind, array in (("images", colours[target]), ("gt", stored), ("coarse", coarse)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(array).save(folder / kind / f"p{index}.png")
    return folder


def write_plan(path: Path, **sections: object) -> Path:
    """Write a plan of one set ``toy`` below ``$TOY`` and the methods given."""
    places = {kind: f"${{TOY}}/{kind}" for kind in ("images", "gt", "coarse")}
    tree = {"sets": {"toy": places}, "resamples": 50, **sections}
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def shift(image: Image, coarse: LabelMap, *, background: int | None = 0, by: int = 1) -> LabelMap:
    """Move the map to the left."""
    return np.roll(coarse, -by, axis=1)


def draw_lots(
    image: Image, coarse: LabelMap, *, background: int | None = 0, seed: int = 0
) -> LabelMap:
    """Relabel a tenth of the pixels at random."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(coarse.shape) < 0.1, 2, coarse).astype(np.int32)


def fail(image: Image, coarse: LabelMap, *, background: int | None = 0) -> LabelMap:
    """Fail as a method does."""
    raise ValueError("no idea\nwhat to do")


def die(image: Image, coarse: LabelMap, *, background: int | None = 0) -> LabelMap:
    """End the process as the system does when memory runs out."""
    os._exit(9)


def wrong_size(image: Image, coarse: LabelMap, *, background: int | None = 0) -> LabelMap:
    """Return half a map."""
    return coarse[:10]


def sleep(image: Image, coarse: LabelMap, *, background: int | None = 0) -> LabelMap:
    """Say where this runs, and take longer than a test."""
    Path(os.environ["TOY"], "pid").write_text(str(os.getpid()))
    time.sleep(60)
    return coarse
