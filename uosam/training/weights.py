"""The weights that a run keeps: their moving average, and the file they are written to."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from safetensors.torch import save
from segment_anything.modeling import Sam

from uosam.io.atomic import write_atomic

WEIGHTS = "tiny.safetensors"
"""Name of the trained weights in the output folder."""


class Average:
    """The moving average of a network's weights and batch statistics.

    Attributes:
        network: that holds it, in evaluation mode.
    """

    def __init__(self, sam: Sam, decay: float) -> None:
        self.network = copy.deepcopy(sam).eval().requires_grad_(False)
        self._decay = decay
        pairs = zip(self.network.state_dict().values(), sam.state_dict().values(), strict=True)
        # The same tensors for the whole run: weights change in place.
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._own, self._current = ([pair[index] for pair in floats] for index in (0, 1))

    @torch.no_grad()
    def move(self, step: int) -> None:
        """Move towards the network's weights after a step; faster in the first ones."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._own, self._current, 1 - decay)


def write_weights(out: Path, sam: Sam) -> Path:
    """Write the weights of a network into a folder and return the file."""
    path = out / WEIGHTS
    write_atomic(path, pack_weights(sam))
    return path


def pack_weights(sam: Sam) -> bytes:
    """Return the weights as a safetensors file, matrices and kernels in float16.

    Norms and biases, a hundredth of the file, keep float32: the running variances of a batch norm
    can lie beyond float16.
    """
    tensors = {
        name: (value.half() if value.ndim > 1 else value).contiguous().cpu()
        for name, value in sam.state_dict().items()
    }
    return save(tensors)
