"""The student's network: an encoder of four strides and a light decoder.

The decoder is a feature pyramid (Lin et al., CVPR 2017) with depthwise separable blocks. Its norms
are over groups of channels, so that it does the same whatever a batch holds. Beside it stands a
linear map of the encoder's columns, which can begin as the nearest class mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uosam.backends.imagenet.weights import build as build_classifier
from uosam.errors import BackendError

CHANNELS = {4: 24, 8: 40, 16: 112, 32: 320}
"""Stride to channels of the encoder's feature maps."""

WIDTH = 64
DIRECT = (8, 16, 32)
"""Strides of the columns that are mapped to classes directly."""
SHARPNESS = 20.0
"""Logits of the nearest class mean are so many times the cosine."""
_STAGES = {1: 4, 2: 8, 4: 16, 6: 32}  # the last stage of blocks at each stride
_GROUPS = 8

Levels = list[torch.Tensor]
"""Feature maps (P, C, h, w) from stride 4 to 32."""


class Encoder(nn.Module):
    """The feature maps of EfficientNet-Lite0, without its last convolution and its classifier.

    Its batch norms keep the statistics of ImageNet, also while it learns: batches are small.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.stem, self.norm, self.blocks = network.conv_stem, network.bn1, network.blocks

    def train(self, mode: bool = True) -> Encoder:
        """Switch everything but the batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, pixels: torch.Tensor) -> Levels:
        """Return feature maps of (P, 3, H, W) pixels 0..255; sides are multiples of 32."""
        cells = self.norm(self.stem((pixels.float() - 127) / 128))
        found = []
        for index, stage in enumerate(self.blocks):
            cells = stage(cells)
            if index in _STAGES:
                found.append(cells)
        return found


def _lateral(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(_GROUPS, width))


def _block(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.Conv2d(width, width, 1, bias=False),
        nn.GroupNorm(_GROUPS, width),
        nn.ReLU(),
    )


class Decoder(nn.Module):
    """From four feature maps to logits (P, K, h, w) at stride 4."""

    def __init__(self, classes: int, width: int = WIDTH) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(_lateral(c, width) for c in CHANNELS.values())
        self.blocks = nn.ModuleList(_block(width) for _ in CHANNELS)
        self.classify = nn.Conv2d(width, classes, 1)
        self.direct = nn.ModuleList(
            nn.Conv2d(CHANNELS[stride], classes, 1, bias=False) for stride in DIRECT
        )

    @torch.no_grad()
    def begin(self, means: Levels) -> None:
        """Become the nearest class mean by cosine; the pyramid says nothing as yet.

        Args:
            means: (K, C) of each stride of ``DIRECT``: mean of the columns of each class, each of
                length 1 before; 0 for a class without a cell, which then is never the answer.
        """
        lengths = torch.cat(means, dim=1).norm(dim=1, keepdim=True).clamp(min=1e-12)
        for layer, mean in zip(self.direct, means, strict=True):
            weight = SHARPNESS * mean / (lengths * len(means) ** 0.5)
            layer.load_state_dict({"weight": weight[:, :, None, None]})
        nn.init.zeros_(self.classify.weight)
        if self.classify.bias is not None:
            nn.init.zeros_(self.classify.bias)

    def forward(self, levels: Levels, kept: Levels | None = None) -> torch.Tensor:
        """Return the logits.

        Args:
            levels: from stride 4 to 32.
            kept: (P, WIDTH, 1, 1) factors of the channels of each level, for dropping some.
        """
        cells: torch.Tensor | None = None
        for index in range(len(levels) - 1, -1, -1):
            own = self.laterals[index](levels[index])
            if kept is not None:
                own = own * kept[index]
            if cells is not None:
                own = own + F.interpolate(cells, own.shape[2:], mode="bilinear")
            cells = self.blocks[index](F.relu(own))
        logits: torch.Tensor = self.classify(cells)
        for layer, level in zip(self.direct, levels[-len(DIRECT) :], strict=True):
            own = layer(F.normalize(level, dim=1))
            logits = logits + F.interpolate(own, logits.shape[2:], mode="bilinear")
        return logits


class Student(nn.Module):
    """Encoder and decoder.

    Attributes:
        classes: number of ids it tells apart, 0 to ``classes`` - 1.
    """

    def __init__(self, encoder: Encoder, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.encoder, self.decoder = encoder, Decoder(classes)

    def forward(self, pixels: torch.Tensor, kept: Levels | None = None) -> torch.Tensor:
        """Return logits (P, K, H / 4, W / 4) of (P, 3, H, W) pixels 0..255."""
        logits: torch.Tensor = self.decoder(self.encoder(pixels), kept)
        return logits


def blank_encoder() -> Encoder:
    """Return an encoder with random weights, to be filled.

    Raises:
        BackendError: timm is missing.
    """
    try:
        import timm
    except ImportError as error:
        raise BackendError(
            "the student needs timm, got none; get it with pip install 'uosam[imagenet]'"
        ) from error
    return Encoder(timm.create_model("tf_efficientnet_lite0", pretrained=False))


def pretrained_encoder(path: Path) -> Encoder:
    """Return the encoder with the weights of ImageNet, from the classifier's file.

    Raises:
        BackendError: timm is missing, or the file is missing, damaged or of another model.
    """
    return Encoder(build_classifier(path))
