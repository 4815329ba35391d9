"""PASS: large-scale unsupervised semantic segmentation (Gao et al., TPAMI 2022).

Two published ways to labels, told apart by the names in the checkpoint. The finetuned network
classifies each cell of a ResNet's last stage into background and clusters. Pixel attention
compares each cell with the centroids of the clusters and takes cells of little attention for
background. Written from a description of the public inference programs, held to their outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import ResNet

from uosam.backends.device import choose_device
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.backends.weights.state_dict import entry, fill, take, tensors
from uosam.errors import BackendError, ConfigError
from uosam.structures import Floats, Image

from .pictures import BILINEAR, enlarge, normalise, resize_short_side
from .resnet import build_resnet, stages

SHORT_SIDE = 256
LARGE = 1000
"""Pictures of more than the square of this many pixels are labelled at this height."""

THRESHOLDS = {50: 0.41, 300: 0.40, 919: 0.37}
"""Published attention below which a pixel is background, by number of classes."""

SOFTNESS = 0.07
"""Scores of pixel attention are divided by this temperature of PASS's distance matching, so that a
softmax over them tells likely clusters from unlikely ones; the argmax does not depend on it."""

_TRAINING_ONLY = ("prototypes.", "projection_head.", "projection.", "fbg.", "last_layer.")


def load(
    path: str | Path,
    *,
    centroids: str | Path | None = None,
    threshold: float | None = None,
    device: str = "auto",
) -> Callable[[Image], Floats]:
    """Load a PASS checkpoint of either kind.

    Args:
        path: ``passN_finetuning.pth.tar`` or ``passN_pixelatt.pth.tar``.
        centroids: ``passN_centroids.npy`` (C, D), for pixel attention.
        threshold: mean attention in [0, 1] below which a pixel is background, for pixel attention;
            None takes the published one of 50, 300 or 919 classes.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to scores (C + 1, H, W); channel 0 is background, channel k
        cluster k, and the argmax is the label that the public program writes.

    Raises:
        BackendError: a file is missing, damaged or of another model.
        ConfigError: centroids or threshold are needed and not given, or out of range.
    """
    path = Path(path)
    state = tensors(entry(read_checkpoint(path), "state_dict", path), path, prefix="module.")
    where = choose_device(device)
    resnet = build_resnet(state, path, ignored=_TRAINING_ONLY).to(where)
    if "last_layer.weight" in state:
        weight = take(state, "last_layer.weight", path)
        with torch.device("meta"):
            classifier = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
        part = {key: state[f"last_layer.{key}"] for key in ("weight", "bias") if
                f"last_layer.{key}" in state}  # fmt: skip
        return Finetuned(
            resnet=resnet, classifier=fill(classifier, part, path).to(where), device=where
        )
    if "fbg.threshold" not in state:
        raise BackendError(
            f"{path} must be a finetuned or pixel-attention checkpoint of PASS, got neither "
            "module.last_layer nor module.fbg; a pretraining checkpoint has no labels"
        )
    if centroids is None:
        raise ConfigError(
            f"{path} is a pixel-attention checkpoint, which needs centroids; give the file "
            "passN_centroids.npy that belongs to it"
        )
    width = state["fbg.threshold"].shape[1]
    centres = _read_centroids(Path(centroids), width)
    if threshold is None and len(centres) not in THRESHOLDS:
        raise ConfigError(
            f"threshold must be given for {len(centres)} classes; published are "
            + ", ".join(f"{value} for {count}" for count, value in THRESHOLDS.items())
        )
    limit = THRESHOLDS[len(centres)] if threshold is None else threshold
    if not 0 <= limit <= 1:
        raise ConfigError(
            f"threshold must be in [0, 1], got {limit}; it is compared with a sigmoid"
        )
    with torch.device("meta"):
        attention = _Attention(width)
    inside = {key[4:]: value for key, value in state.items() if key.startswith("fbg.")}
    return PixelAttention(
        resnet=resnet,
        attention=fill(attention, inside, path).to(where),
        centroids=F.normalize(torch.from_numpy(centres).to(where), dim=1),
        threshold=limit,
        device=where,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Finetuned:
    """ResNet and a 1x1 convolution to background and clusters.

    Attributes:
        resnet: without its classifier.
        classifier: D channels to C + 1.
        device: where both are.
    """

    resnet: ResNet
    classifier: nn.Module
    device: torch.device

    @torch.inference_mode()
    def __call__(self, image: Image) -> Floats:
        """Score a picture; a large one at 1000 rows, then by nearest neighbour at its own size."""
        height, width = image.shape[:2]
        logits = self.logits(normalise(resize_short_side(image, SHORT_SIDE, BILINEAR), self.device))
        if height * width <= LARGE * LARGE:
            return enlarge(logits, (height, width))
        # The public program limits the height, also of a landscape picture.
        limited = enlarge(logits, (LARGE, LARGE * width // height))
        return enlarge(torch.from_numpy(limited)[None], (height, width), "nearest")

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map (1, 3, h, w) normalised pixels to (1, C + 1, h / 32, w / 32)."""
        mapped: torch.Tensor = self.classifier(stages(self.resnet, pixels)[-1])
        return mapped


@dataclass(frozen=True, eq=False, kw_only=True)
class PixelAttention:
    """ResNet, an attention map, and the centroids of the clusters.

    Attributes:
        resnet: without its classifier.
        attention: D channels to D attentions.
        centroids: (C, D) of length 1.
        threshold: mean attention below which a pixel is background.
        device: where all are.
    """

    resnet: ResNet
    attention: nn.Module
    centroids: torch.Tensor
    threshold: float
    device: torch.device

    @torch.inference_mode()
    def __call__(self, image: Image) -> Floats:
        """Score a picture: clusters by cosine less the best one's, background by lack of attention.

        A cluster's score is at most 0 and the background's is positive exactly where attention
        falls short of the threshold, so that the argmax is the published label.
        """
        hw = image.shape[:2]
        features = self.features(
            normalise(resize_short_side(image, SHORT_SIDE, BILINEAR), self.device)
        )
        cosine = self.cosine(features)
        lag = enlarge(cosine - cosine.amax(1, keepdim=True), hw, "nearest")
        mask = enlarge(self.attend(features).mean(1, keepdim=True), hw)
        lack = self.threshold - mask
        # A pixel at the threshold itself is foreground.
        lack[lack == 0] = -np.finfo(np.float32).eps
        return np.asarray(np.concatenate([lack, lag]) / SOFTNESS, np.float32)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map (1, 3, h, w) pixels to (1, D, h / 8, w / 8): the last stage, enlarged four times."""
        return F.interpolate(
            stages(self.resnet, pixels)[-1], scale_factor=4, mode="bilinear", align_corners=False
        )

    def attend(self, features: torch.Tensor) -> torch.Tensor:
        """Return the attention in (0, 1) of every channel, from features of length 1."""
        attention: torch.Tensor = self.attention(F.normalize(features, dim=1))
        return attention

    def cosine(self, features: torch.Tensor) -> torch.Tensor:
        """Return (1, C, h, w) cosines of features and centroids."""
        return torch.einsum("bdhw,cd->bchw", F.normalize(features, dim=1), self.centroids)

    @torch.inference_mode()
    def embedding(self, image: Image) -> Floats:
        """Return the (D,) vector of a picture that centroids are made from, before normalising.

        It is the mean over the centre square of 224 pixels of attention times features; the
        attention reads features of length 1, the product takes them as they are.
        """
        resized = resize_short_side(image, SHORT_SIDE, BILINEAR)
        top, left = (round((side - 224) / 2) for side in resized.shape[:2])
        features = self.features(
            normalise(resized[top : top + 224, left : left + 224], self.device)
        )
        mean: Floats = (features * self.attend(features)).mean((2, 3))[0].cpu().numpy()
        return mean


class _Attention(nn.Module):
    """Two 1x1 convolutions with batch normalisation, and a learned offset per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.atten = nn.Sequential(
            nn.Conv2d(width, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.BatchNorm2d(width),
        )
        self.threshold = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.atten(features) + self.threshold)


def _read_centroids(path: Path, width: int) -> Floats:
    """Read (C, D) centroids.

    Raises:
        BackendError: the file is missing, no array, or of another width.
    """
    try:
        centroids: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BackendError(
            f"{path} must be the .npy file of centroids, got {type(error).__name__}"
        ) from error
    if getattr(centroids, "ndim", 0) != 2 or centroids.shape[1] != width:
        got = getattr(centroids, "shape", "an archive")
        raise BackendError(f"{path} must be (C, {width}) centroids, got {got}")
    return np.asarray(centroids, np.float32)
