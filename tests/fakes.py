"""A backend without a model: floods colour from the prompt point. Deterministic, no torch."""

from __future__ import annotations

import os
import time

import cv2
import numpy as np

from uosam.backends import BackendOptions
from uosam.errors import BackendError
from uosam.labels import to_grid
from uosam.structures import LOGIT_SCALE, Embedding, Image, Prompts, Proposals

STRIDE = 8
"""Pixels of a cell of the feature grid."""


class FakeBackend:
    """Answers every prompt with the connected pixels of the colour under its first inside point."""

    def embed(self, image: Image) -> Embedding:
        height, width = image.shape[:2]
        grid = (-(-height // STRIDE), -(-width // STRIDE))
        features = cv2.resize(image, grid[::-1], interpolation=cv2.INTER_AREA)
        return Embedding(
            features=np.moveaxis(features, 2, 0).astype(np.float32) / 255,
            extent=(height / STRIDE, width / STRIDE),
            image_hw=(height, width),
            state=image,
        )

    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        *,
        multimask: bool = True,
        min_score: float = 0.0,
        min_stability: float = 0.0,
    ) -> Proposals:
        masks, rows = [], []
        for row in range(len(prompts)):
            inside = prompts.points[row][prompts.point_labels[row] == 1]
            if not len(inside) and prompts.boxes is not None:
                inside = prompts.boxes[row].reshape(2, 2).mean(axis=0, keepdims=True)
            if len(inside):
                masks.append(flood(embedding.state, inside[0]))
                rows.append(row)
        if min_score > 0.9 or not masks:
            masks, rows = [], []
        count = len(masks)
        stack = np.array(masks, bool).reshape(count, *embedding.image_hw)
        h, w = embedding.logits_hw
        logits = np.zeros((count, h, w), np.float32)
        for index, mask in enumerate(stack):
            logits[index] = to_grid(mask * 20.0 - 10.0, embedding, scale=LOGIT_SCALE)
        return Proposals(
            masks=stack,
            scores=np.full(count, 0.9, np.float32),
            stability=np.ones(count, np.float32),
            logits=logits,
            row=np.array(rows, np.int64),
        )


def flood(image: Image, point: np.ndarray) -> np.ndarray:
    """Return the (H, W) mask of pixels within 20 grey values of the one at ``point`` (x, y)."""
    height, width = image.shape[:2]
    x = int(np.clip(round(float(point[0])), 0, width - 1))
    y = int(np.clip(round(float(point[1])), 0, height - 1))
    marks = np.zeros((height + 2, width + 2), np.uint8)
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE
    cv2.floodFill(image.copy(), marks, (x, y), 0, (20,) * 3, (20,) * 3, flags)
    return marks[1:-1, 1:-1] > 0


def load(options: BackendOptions) -> FakeBackend:
    """Serve as ``-s backend.name=tests.fakes:load``."""
    return FakeBackend()


class SlowBackend(FakeBackend):
    """Takes as long for a picture as FAKE_SECONDS says, so that a test can stop it in between."""

    def embed(self, image: Image) -> Embedding:
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
        return super().embed(image)


def load_slow(options: BackendOptions) -> SlowBackend:
    """Serve as ``-s backend.name=tests.fakes:load_slow``."""
    return SlowBackend()


def load_broken(options: BackendOptions) -> FakeBackend:
    """Fail as a missing checkpoint does."""
    raise BackendError("no such weights")


def load_dying(options: BackendOptions) -> FakeBackend:
    """End the process, as the system does when memory runs out."""
    os._exit(9)
