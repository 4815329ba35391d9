"""The range of colours that each of the networks expects."""

from __future__ import annotations

from typing import Any

import torch

from uosam.backends.sam.lite0 import PIXEL_MEAN, PIXEL_STD

_SAM = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_OTHERS = {"tiny": (PIXEL_MEAN, PIXEL_STD)}


def set_pixels(sam: Any, name: str) -> None:
    """Give a network the mean and the deviation of its pixels.

    They are the only tensors that are not in a weights file, and a network that was built on the
    meta device has no values of them.

    Args:
        sam: a ``Sam``, changed in place.
        name: of the model.
    """
    mean, deviation = _OTHERS.get(name, _SAM)
    sam.pixel_mean = torch.tensor(mean).view(-1, 1, 1)
    sam.pixel_std = torch.tensor(deviation).view(-1, 1, 1)
