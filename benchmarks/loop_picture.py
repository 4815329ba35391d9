"""Run the loop on the pictures of ``examples/`` and draw ``docs/images/loop.jpg``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from benchmarks.accuracy import TOP
from benchmarks.loop import STUDENT
from uosam.evaluation.rounds.loop import LoopOptions, LoopResult, run_loop
from uosam.io.codecs import read_labels
from uosam.io.images import read_image
from uosam.report.overlay import draw_labels
from uosam.structures import Image

PICTURE = TOP / "docs" / "images" / "loop.jpg"


def draw(result: LoopResult, width: int = 128) -> Image:
    """Return a sheet: a row for each picture, then its masks of every round and the kept one."""
    rows = []
    for sample in result.samples:
        assert sample.image is not None  # every sample of a loop has a picture
        assert sample.coarse is not None
        image = read_image(sample.image)
        masks = [
            path
            for stage in result.stages
            for path in (stage.coarse_file(sample), stage.refined_file(sample))
        ]
        masks.append(result.masks / f"{sample.name}{sample.coarse.suffix}")
        drawn = [image]
        for path in masks:
            labels = read_labels(path, background=None).labels
            drawn.append(draw_labels(image, labels, background=None, alpha=0.6))
        size = (width, round(image.shape[0] * width / image.shape[1]))
        small = [cv2.resize(panel, size, interpolation=cv2.INTER_AREA) for panel in drawn]
        rows.append(np.hstack([np.pad(panel, ((2, 2), (2, 2), (0, 0))) for panel in small]))
    return np.asarray(np.vstack(rows), np.uint8)


def main() -> None:

    with tempfile.TemporaryDirectory() as folder:
        options = LoopOptions(rounds=2, k=6, student=STUDENT)
        result = run_loop(TOP / "examples" / "images", Path(folder) / "out", options)
        sheet = draw(result)
    PIL.Image.fromarray(sheet).save(PICTURE, quality=80, optimize=True)


if __name__ == "__main__":
    main()
