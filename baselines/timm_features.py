"""Features of any timm model, as an encoder for ``kmeans``."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from uosam.backends.device import choose_device
from uosam.backends.weights.checkpoints import read_content
from uosam.backends.weights.recognise import find_state
from uosam.backends.weights.state_dict import fill, tensors
from uosam.errors import BackendError, ConfigError
from uosam.structures import Embedding, Image

from .pictures import check_picture


def load(name: str, path: str | Path | None, *, device: str = "auto") -> TimmEncoder:
    """Build a timm model without its classifier and fill it from a local file.

    Args:
        name: of the model, such as "resnet50" or "vit_small_patch16_224".
        path: state dict as timm or torchvision writes it, bare or under "state_dict" or "model";
            ``.safetensors`` too. Nothing is downloaded.
        device: "auto" or a torch device.

    Raises:
        ConfigError: timm does not know the name.
        BackendError: timm is not installed, or the file is missing, damaged or of another model.
    """
    try:
        import timm
    except ImportError as error:
        raise BackendError(
            "features of a timm model need the package timm, which is not installed; get it with "
            "pip install 'uosam[timm]'"
        ) from error
    if path is None:
        raise BackendError(
            f"the timm model {name!r} needs its weights, got none; give --checkpoint FILE"
        )
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise ConfigError(
            f"unknown timm model {name!r}; did you mean {' or '.join(near) or 'another'}? "
            "(timm.list_models() has them all)"
        )
    network = timm.create_model(name, pretrained=False, num_classes=0)
    fill(network, _state(Path(path)), Path(path), ignored=("fc.", "head.", "classifier."))
    where = choose_device(device)
    config = timm.data.resolve_model_data_config(network)
    return TimmEncoder(
        network=network.to(where),
        side=config["input_size"][-1],
        mean=config["mean"],
        deviation=config["std"],
        device=where,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class TimmEncoder:
    """The last feature map of a timm model, of a picture stretched to the model's square.

    Attributes:
        network: without its classifier, in evaluation mode.
        side: of the square.
        mean: of the pixels in [0, 1], taken off.
        deviation: divides what is left.
        device: where the network is.
    """

    network: Any
    side: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    device: torch.device

    @torch.inference_mode()
    def embed(self, image: Image) -> Embedding:
        """Return features (C, h, w) of a picture, which covers the whole grid."""
        check_picture(image)
        square = cv2.resize(image, (self.side, self.side), interpolation=cv2.INTER_AREA)
        pixels = (square.astype(np.float32) / 255 - self.mean) / self.deviation
        tensor = torch.from_numpy(pixels.astype(np.float32).transpose(2, 0, 1)[None])
        found = self.network.forward_intermediates(
            tensor.to(self.device), indices=1, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        features = found[-1][0].float().cpu().numpy()
        _, h, w = features.shape
        return Embedding(features=features, extent=(h, w), image_hw=image.shape[:2])


def _state(path: Path) -> dict[str, torch.Tensor]:
    content = read_content(path)
    found = tensors(find_state(content) or content, path)
    return {key.removeprefix("module."): value for key, value in found.items()}
