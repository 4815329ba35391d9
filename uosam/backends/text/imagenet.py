"""ImageNet's 1000 classes as an image-text model with a closed list of words: their synsets.

Not CLIP: it knows nothing but these classes. But its weights come from a package index, and names
of which a class is a kind (a tabby is a cat) roll up from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from uosam.backends.imagenet.network import ImageNetClassifier, fit_long_side
from uosam.backends.imagenet.network import load as load_classifier
from uosam.errors import InputError
from uosam.structures import Floats, Image, Masks

SIDE = 224
"""Pixels of the square that crops are brought to: what the network was trained at."""

LONG_SIDE = 512
"""Pixels of the long side of a picture whose feature map is pooled."""

_LEAST = 1e-30


def load(
    checkpoint: str | Path | None = None, *, synsets: Sequence[str], device: str = "auto"
) -> ImageNetText:
    """Load EfficientNet-Lite0 as an image-text model.

    Args:
        checkpoint: its ``.pth`` file; None takes that of the installed package.
        synsets: keys in WordNet of the network's classes, in order.
        device: "auto" or a torch device.

    Raises:
        BackendError: the packages are missing, or the file is missing, damaged or of another
            model.
    """
    return ImageNetText(
        classifier=load_classifier(checkpoint, device=device), synsets=tuple(synsets)
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageNetText:
    """An ``ImageText`` whose words are keys of WordNet, and embeddings log probabilities of them.

    Attributes:
        classifier: the network.
        synsets: of its classes, in order.
        scale: 1, for the similarity is a log probability.
        colour: what the network sees as 0.
        exclusive: True.
    """

    classifier: ImageNetClassifier
    synsets: tuple[str, ...]
    scale: float = 1.0
    colour: tuple[int, int, int] = (127, 127, 127)
    exclusive: bool = True

    def embed_images(self, images: Sequence[Image]) -> Floats:
        """Return (N, 1000) log probabilities of pictures.

        Args:
            images: of any size, best square; they are resized to 224 x 224.
        """
        if not images:
            return np.zeros((0, len(self.synsets)), np.float32)
        views = self.classifier.look([_to_square(image) for image in images])
        found = np.stack([view.probabilities for view in views])
        return np.asarray(np.log(np.maximum(found, _LEAST)), np.float32)

    def embed_regions(self, image: Image, masks: Masks) -> Floats:
        """Return (M, 1000) log probabilities of the mean feature under each (H, W) mask.

        One look at the picture serves all masks; a cell counts by its share under the mask.

        Raises:
            InputError: the masks differ in size from the picture.
        """
        if masks.shape[1:] != image.shape[:2]:
            raise InputError(
                f"masks must have the size of their picture {image.shape[:2]}, got "
                f"{masks.shape[1:]}"
            )
        [view] = self.classifier.look([fit_long_side(image, LONG_SIDE)])
        rows, cols = view.features.shape[1:]
        shares = np.stack(
            [
                cv2.resize(mask.astype(np.float32), (cols, rows), interpolation=cv2.INTER_AREA)
                for mask in masks
            ]
        )
        weights = shares / np.maximum(shares.sum(axis=(1, 2), keepdims=True), _LEAST)
        features = np.einsum("mhw,chw->mc", weights, view.features)
        logits = self.classifier.classify(np.asarray(features, np.float32)).astype(np.float64)
        top = logits.max(axis=1, keepdims=True)
        norm = np.log(np.exp(logits - top).sum(axis=1, keepdims=True)) + top
        return np.asarray(logits - norm, np.float32)

    def embed_texts(self, words: Sequence[str]) -> Floats:
        """Return (W, 1000) rows that pick the class of each word, a key of WordNet.

        Raises:
            InputError: a word is none of the classes.
        """
        places = {synset: place for place, synset in enumerate(self.synsets)}
        lacking = [word for word in words if word not in places]
        if lacking:
            raise InputError(
                f"an ImageNet model knows the keys of its {len(places)} classes, such as "
                f"{self.synsets[0]}, got {lacking[0]!r}"
            )
        rows = np.zeros((len(words), len(self.synsets)), np.float32)
        rows[np.arange(len(words)), [places[word] for word in words]] = 1
        return rows


def _to_square(image: Image) -> Image:
    shrinks = max(image.shape[:2]) > SIDE
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=interpolation), np.uint8)
