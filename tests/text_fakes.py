"""Image-text models without a network: colours stand for meanings. Deterministic, no torch."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uosam.structures import Floats, Image, Masks

COLOURS = {"tomato": (200, 50, 40), "grass": (50, 180, 60), "sea": (40, 60, 160)}
"""Words that the models know; others are grey."""

GREY = (127, 127, 127)


class Colours:
    """An ``ImageText`` whose embedding is the mean colour of what is not padding."""

    scale = 20.0
    colour = GREY
    exclusive = False

    def embed_images(self, images: Sequence[Image]) -> Floats:
        rows = []
        for image in images:
            shown = image[(image != GREY).any(axis=2)]
            rows.append(shown.mean(axis=0) if len(shown) else np.array(GREY, float))
        return _unit(np.array(rows).reshape(-1, 3))

    def embed_texts(self, words: Sequence[str]) -> Floats:
        return _unit(np.array([COLOURS.get(word, GREY) for word in words], float))


class Pooling(Colours):
    """The same, and it can look under masks."""

    def embed_regions(self, image: Image, masks: Masks) -> Floats:
        return _unit(np.array([image[mask].mean(axis=0) for mask in masks]))


def _unit(rows: Floats) -> Floats:
    centred = rows - 127
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(lengths, 1e-6), np.float32)


def load(checkpoint: str | None = None, *, device: str = "auto") -> Colours:
    """Build the model; it sleeps if told to, so that a run can be killed in the middle."""
    pause = float(os.environ.get("UOSAM_FAKE_SLEEP", "0"))
    if log := os.environ.get("UOSAM_FAKE_LOG"):
        model: Colours = Logged(Path(log), pause)
        return model
    return Colours()


class Logged(Colours):
    """Writes a line for each look at a picture."""

    def __init__(self, log: Path, pause: float) -> None:
        self.log, self.pause = log, pause

    def embed_images(self, images: Sequence[Image]) -> Floats:
        with self.log.open("a") as file:
            file.write("look\n")
        time.sleep(self.pause)
        return super().embed_images(images)
