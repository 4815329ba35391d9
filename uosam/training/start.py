"""What the weights are when a run begins."""

from __future__ import annotations

from pathlib import Path

import torch
from segment_anything.modeling import Sam

from uosam.backends.imagenet.weights import find_weights
from uosam.backends.sam.lite0 import fill_lite0
from uosam.backends.weights.checkpoints import load_weights, read_state_dict
from uosam.errors import InputError


def fill_start(sam: Sam, start: str) -> None:
    """Put the weights into a network that a run begins with.

    Args:
        sam: a ``tiny`` with random weights.
        start: "imagenet", "random", or a file; see ``TrainOptions.start``.

    Raises:
        InputError: the file is not there, or holds something else.
        BackendError: the package is not there, the file is damaged, or a .safetensors file is not
            of ``tiny``.
    """
    if start == "random":
        return
    path = find_weights() if start == "imagenet" else Path(start).expanduser()
    if not path.is_file():
        raise InputError(
            f"train.start must be imagenet, random or a weights file, found nothing at {path}"
        )
    tensors = read_state_dict(path, "tiny")
    if path.suffix == ".safetensors":
        load_weights(sam, tensors, path, "tiny")
        for parameter in sam.parameters():
            parameter.requires_grad_(True)
        return
    try:
        fill_lite0(sam.image_encoder.backbone, tensors)
    except ValueError as error:
        raise InputError(
            f"train.start must be weights of EfficientNet-Lite0 or tiny, got {path}: {error}"
        ) from error


def published_parameters(sam: Sam) -> set[torch.nn.Parameter]:
    """Return the parameters that were learned on ImageNet."""
    return set(sam.image_encoder.backbone.parameters())
