"""PiCIE, and MDC in its code: clustering of invariant and equivariant features (Cho et al., 2021).

A ResNet with a feature pyramid, and the centroids of the clusters as a 1x1 convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import ResNet

from uosam.backends.device import choose_device
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.backends.weights.state_dict import entry, fill, take, tensors
from uosam.structures import Floats, Image

from .pictures import BILINEAR, normalise, score_by_squares
from .resnet import build_resnet, stages

SIDE = 320


def load(path: str | Path, *, classifier: Literal[1, 2] = 1, device: str = "auto") -> Picie:
    """Load a PiCIE or MDC checkpoint.

    Args:
        path: ``picie.pkl`` or ``checkpoint.pth.tar``.
        classifier: which of the two sets of centroids; MDC has the first only. They were fitted
            to two views, and number the clusters differently.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to (K, H, W) scores; every channel is a cluster, from 0, and
        there is no background.

    Raises:
        BackendError: the file is missing, damaged or of another model.
    """
    path = Path(path)
    content = read_checkpoint(path)
    state = entry(content, "state_dict", path)
    backbone = tensors(state, path, prefix="module.backbone.")
    laterals = tensors(state, path, prefix="module.decoder.")
    centroids = tensors(
        entry(content, f"classifier{classifier}_state_dict", path), path, prefix="module."
    )
    where = choose_device(device)
    with torch.device("meta"):
        pyramid = Pyramid(
            [take(laterals, f"layer{i}.weight", path).shape[:2] for i in (1, 2, 3, 4)]
        )
    return Picie(
        resnet=build_resnet(backbone, path, ignored=("fc.",)).to(where),
        pyramid=fill(pyramid, laterals, path).to(where),
        weight=take(centroids, "weight", path).to(where),
        bias=take(centroids, "bias", path).to(where),
        device=where,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Picie:
    """A segmenter of centre squares.

    Attributes:
        resnet: without its classifier.
        pyramid: stage maps to (1, E, h / 4, w / 4).
        weight: (K, E, 1, 1) centroids, as they are: not normalised.
        bias: (K,) zeros in published files.
        device: where all are.
    """

    resnet: ResNet
    pyramid: nn.Module
    weight: torch.Tensor
    bias: torch.Tensor
    device: torch.device

    def __call__(self, image: Image) -> Floats:
        """Score a picture of any size; see ``score_by_squares`` for what lies off the centre."""
        return score_by_squares(image, self.score_square, resample=BILINEAR, side=SIDE)

    @torch.inference_mode()
    def score_square(self, square: Image) -> Floats:
        """Score (S, S, 3) RGB: (K, S, S) inner products, enlarged after the classifier."""
        logits = self.logits(self.pyramid(stages(self.resnet, normalise(square, self.device))))
        size = square.shape[:2]
        enlarged = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        scores: Floats = enlarged[0].cpu().numpy()
        return scores

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return (1, K, h, w) inner products of centroids with features of length 1."""
        return F.conv2d(F.normalize(features, dim=1), self.weight, self.bias)


class Pyramid(nn.Module):
    """1x1 convolutions of the four stages, added from coarse to fine; no 3x3 convolutions.

    In the file ``layer1`` reads the last stage and ``layer4`` the first.
    """

    def __init__(self, sizes: list[torch.Size]) -> None:
        super().__init__()
        for index, (outputs, inputs) in enumerate(sizes, start=1):
            self.add_module(f"layer{index}", nn.Conv2d(inputs, outputs, 1))

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Map the four stage maps to the sum at the size of the first."""
        laterals = [layer(grid) for layer, grid in zip(self.children(), maps[::-1], strict=True)]
        total = laterals[0]
        for lateral in laterals[1:]:
            size = lateral.shape[2:]
            total = lateral + F.interpolate(total, size, mode="bilinear", align_corners=False)
        return total
