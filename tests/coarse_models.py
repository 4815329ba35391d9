"""Models for tests of ``uosam coarse``, named as ``tests.coarse_models:FUNCTION``."""

import numpy as np

from uosam.structures import Embedding

CALLS = []


def load(checkpoint, *, device="auto", classes=3, table=None):
    """Score by colour: class k is the k-th of evenly spaced levels of red."""
    CALLS.append("load")

    def score(image):
        if image[0, 0].tolist() == [1, 2, 3]:
            raise ZeroDivisionError("this colour is not liked")
        levels = np.linspace(0, 255, classes, dtype=np.float32)[:, None, None]
        return -np.abs(image[None, :, :, 0] - levels) / 255

    return score


def load_wrong(checkpoint, *, device="auto"):
    return lambda image: np.zeros((2, 3, 3), np.float32)


def load_fitted(checkpoint, *, pictures, clusters=None, device="auto"):
    """Every pixel is as many as there are pictures."""
    count = len(pictures)

    def score(image):
        scores = np.zeros((9, *image.shape[:2]), np.float32)
        scores[count] = 1
        return scores

    return score


class Colours:
    """A backend whose feature is the mean colour of a 4 x 4 cell, padded to a square grid."""

    def embed(self, image):
        rows, cols = (-(-side // 4) for side in image.shape[:2])
        features = np.zeros((3, max(rows, cols), max(rows, cols)), np.float32)
        for y in range(rows):
            for x in range(cols):
                cell = image[4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
                features[:, y, x] = cell.reshape(-1, 3).mean(axis=0)
        hw = image.shape[:2]
        return Embedding(features=features, extent=(hw[0] / 4, hw[1] / 4), image_hw=hw)


def backend(options):
    return Colours()


def columns(path, *, side=384, device="auto"):
    """An encoder for ``clusters``: the mean colour of every 4 x 4 cell, of length 1."""
    embed = Colours().embed

    def describe(image):
        found = embed(image)
        rows, cols = (round(length) for length in found.extent)
        cells = found.features[:, :rows, :cols]
        return cells / np.maximum(np.linalg.norm(cells, axis=0), 1e-6)

    return describe
