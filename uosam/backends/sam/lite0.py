"""The convolutions of EfficientNet-Lite0, without its classifier.

Tan and Le, "EfficientNet" (ICML 2019), in the edition for small devices: no squeeze-and-excite,
ReLU6 throughout. Written out because the image encoder of ``tiny`` begins with weights learned on
ImageNet and must not need a model library to run. Tensors come in the order of the published file.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

PIXEL_MEAN = (127.0, 127.0, 127.0)
"""What the published weights expect to be taken off RGB values in [0, 255]."""

PIXEL_STD = (128.0, 128.0, 128.0)
"""What they expect RGB values to be divided by afterwards."""

CHANNELS = (16, 24, 40, 112, 320)
"""Channels of the features at strides 2, 4, 8, 16 and 32."""

_STEM = 32
_STAGES = (  # blocks, channels, kernel, stride, widening
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
_LAST_OF_STRIDE = (0, 1, 2, 4, 6)
_EPSILON = 1e-3  # of the published weights


class _Block(nn.Module):
    """Widen, convolve each channel alone, narrow; the input is added where it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, widening: int) -> None:
        super().__init__()
        wide = inputs * widening
        widen = _convolution(inputs, wide, 1) if widening > 1 else []
        self.layers = nn.Sequential(
            *widen,
            *_convolution(wide, wide, kernel, stride, groups=wide),
            *_convolution(wide, outputs, 1)[:-1],  # no activation where a block ends
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        narrow: torch.Tensor = self.layers(x)
        return x + narrow if self.adds else narrow


class Lite0(nn.Module):
    """(B, 3, h, w) pictures to features at five strides; ``h`` and ``w`` are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, _STEM, 3, 2))
        stages = []
        inputs = _STEM
        for blocks, outputs, kernel, stride, widening in _STAGES:
            first = _Block(inputs, outputs, kernel, stride, widening)
            rest = (_Block(outputs, outputs, kernel, 1, widening) for _ in range(blocks - 1))
            stages.append(nn.Sequential(first, *rest))
            inputs = outputs
        self.stages = nn.ModuleList(stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return features (B, ``CHANNELS``, h / stride, w / stride)."""
        x = self.stem(x)
        found = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _LAST_OF_STRIDE:
                found.append(x)
        return found


class _Halving(nn.Conv2d):
    """A convolution of stride 2 that is padded the more below and to the right.

    So the published weights want it. A kernel with a row and a column of zeros in front says the
    same, and spares a copy of the largest features there are.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int) -> None:
        super().__init__(inputs, outputs, kernel, 2, padding=kernel // 2, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = F.pad(self.weight, (1, 0, 1, 0))
        return F.conv2d(x, kernel, self.bias, self.stride, self.padding, groups=self.groups)


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Return a convolution, its norm and its activation."""
    return [
        _Halving(inputs, outputs, kernel, groups)
        if stride == 2
        else nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=_EPSILON),
        nn.ReLU6(inplace=True),
    ]


def fill_lite0(network: Lite0, tensors: dict[str, torch.Tensor]) -> None:
    """Put the weights of a published file into a network, by order.

    Args:
        network: to be filled in place.
        tensors: of the whole classifier, in the order of its layers; the last ones, of its head,
            are left out.

    Raises:
        ValueError: there are too few tensors, or one has another shape.
    """
    own = network.state_dict()
    if len(tensors) < len(own):
        raise ValueError(f"{len(own)} tensors are needed, got {len(tensors)}")
    filled = {}
    for (name, value), (other, found) in zip(own.items(), tensors.items(), strict=False):
        if value.shape != found.shape:
            raise ValueError(
                f"{other} must be {tuple(value.shape)} as {name}, got {tuple(found.shape)}"
            )
        filled[name] = found
    network.load_state_dict(filled)
