"""Choosing where a network computes."""

from __future__ import annotations

import torch

from uosam.errors import BackendError


def choose_device(name: str) -> torch.device:
    """Return the torch device of a name; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        BackendError: torch does not know the name or has no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BackendError(
            f"device must be auto, cpu or one that torch finds on this machine, got {name!r}; "
            "use --device auto"
        ) from error
    return device
