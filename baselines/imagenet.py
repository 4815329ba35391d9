"""Class maps of an ImageNet classifier, as masks of a network that never saw a mask.

The classifier is applied to every cell of its last feature map (Zhou et al., "Learning deep
features for discriminative localization", CVPR 2016) at two sizes of the picture. Such maps
cover the telling part of an object, or much more than it, as weakly supervised networks do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from uosam.backends.imagenet.network import ImageNetClassifier, fit_long_side
from uosam.backends.imagenet.network import load as load_classifier
from uosam.datasets.vocabulary import Vocabulary, read_vocabulary
from uosam.errors import ConfigError
from uosam.structures import Floats, Image

from .pictures import check_picture, enlarge

BACKGROUND = 0.25
"""Score of the background everywhere."""

LONG_SIDES = (384, 576)
"""Sizes that a picture is seen at; the maps are averaged."""

LEAST_SHARE = 0.05
"""A class that the whole picture shows with less probability is not looked for."""


def load(
    path: str | Path | None = None,
    *,
    vocabulary: str = "voc",
    background: float = BACKGROUND,
    device: str = "auto",
) -> Callable[[Image], Floats]:
    """Load the classifier for the names of a vocabulary.

    Args:
        path: its weights; None takes those of the extra ``imagenet``.
        vocabulary: voc, cocostuff, cityscapes, imagenet, or a text file.
        background: score of the background; COCO-Stuff and Cityscapes have none.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to scores (K, H, W). Channel 0 is the background, unless the
        vocabulary has none; then come the lines of the vocabulary.

    Raises:
        BackendError: the packages are missing, or the weights are not those of the model.
        InputError: the vocabulary cannot be read.
        ConfigError: none of its names has a class in ImageNet.
    """
    words = read_vocabulary(vocabulary)
    if len(words.without_synsets) == len(words.entries):
        raise ConfigError(
            f"vocabulary {vocabulary} must have names of ImageNet's classes, got none; add synsets "
            "to its lines, such as 'cat; n02123045'"
        )
    classifier = load_classifier(path, device=device)
    return partial(score, classifier=classifier, vocabulary=words, background=background)


def score(
    image: Image,
    *,
    classifier: ImageNetClassifier,
    vocabulary: Vocabulary,
    background: float = BACKGROUND,
    long_sides: Sequence[int] = LONG_SIDES,
) -> Floats:
    """Return scores (K, H, W) of the vocabulary's classes, the background's first if it has one."""
    check_picture(image)
    hw = image.shape[:2]
    total = np.zeros((len(vocabulary.entries), *hw), np.float32)
    for side in long_sides:
        (view,) = classifier.look([fit_long_side(image, side)])
        cells = vocabulary.gather(_softmax(view.logits))
        shares = vocabulary.gather(view.probabilities)
        # A class that the picture as a whole hardly shows has only stray cells.
        weights = np.sqrt(shares / max(float(shares.max()), 1e-12)) * (shares >= LEAST_SHARE)
        maps = torch.from_numpy(cells * weights[:, None, None].astype(np.float32))
        total += enlarge(maps[None], hw) / len(long_sides)
    if not vocabulary.background:
        return total
    return np.concatenate([np.full((1, *hw), background, np.float32), total])


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=0, keepdims=True))
    return np.asarray(powers / powers.sum(axis=0, keepdims=True), np.float32)
