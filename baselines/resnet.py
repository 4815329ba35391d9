"""torchvision's ResNets, of the depth that a checkpoint has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from uosam.backends.weights.state_dict import Tensors, fill


def build_resnet(
    state: Tensors, path: Path, *, dilated: bool = False, ignored: Sequence[str] = ()
) -> ResNet:
    """Build the ResNet that the names in a state dict describe, without its classifier.

    Args:
        state: tensors under torchvision's names.
        path: where they came from, for error messages.
        dilated: replace the strides of the last two stages by dilation (stride 8 in all).
        ignored: prefixes of names that are known not to be needed.

    Raises:
        BackendError: tensors are missing or of another shape.
    """
    bottleneck = "layer1.0.conv3.weight" in state
    found = re.compile(r"layer(\d)\.(\d+)\.conv1\.weight")
    blocks = [match.groups() for match in map(found.fullmatch, state) if match]
    depths = [max(1, sum(stage == str(index) for stage, _ in blocks)) for index in range(1, 5)]
    with torch.device("meta"):
        resnet = ResNet(
            Bottleneck if bottleneck else BasicBlock,
            depths,
            replace_stride_with_dilation=[False, True, True] if dilated else None,
        )
        resnet.fc = nn.Identity()
    fill(resnet, state, path, ignored=ignored)
    return resnet


def stages(resnet: ResNet, pixels: torch.Tensor) -> list[torch.Tensor]:
    """Return the four stage maps of (B, 3, H, W) pixels, at strides 4, 8, 16 and 32."""
    grid = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(pixels))))
    maps = []
    for stage in (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4):
        grid = stage(grid)
        maps.append(grid)
    return maps
