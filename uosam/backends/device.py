"""Choosing where a network computes."""

from __future__ import annotations

import torch

from uosam.backends.processes import choose_gpu
from uosam.errors import BackendError


def choose_device(name: str) -> torch.device:
    """Return the torch device of a name; "auto" takes CUDA, then MPS, then the CPU.

    Where there are several GPUs and none of them is named, processes take them in turn.

    Raises:
        BackendError: torch does not know the name or has no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return choose_device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if name == "cuda" and torch.cuda.device_count() > 1:
            device = torch.device(name, choose_gpu(torch.cuda.device_count()))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BackendError(
            f"device must be auto, cpu or one that torch finds on this machine, got {name!r}; "
            "use --device auto"
        ) from error
    return device


def on_host(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor lies where NumPy and OpenCV can work at it."""
    return tensor.device.type == "cpu"


def set_tf32(device: torch.device, allowed: bool) -> None:
    """Say whether CUDA may use TF32: torch by itself does in convolutions, and not in matrices.

    Other devices have no such choice, and nothing is set for them.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed


def too_large(device: torch.device, pictures: int) -> BackendError:
    """Build the error for pictures that do not fit into the memory of a device together."""
    amount = "one picture" if pictures == 1 else f"{pictures} pictures at once"
    return BackendError(
        f"not enough memory on {device} to encode {amount}; use a smaller model, "
        "-s backend.precision=bfloat16, or --device cpu"
    )


def out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error of torch means that the device or the machine has no memory left.

    Only CUDA has a type of its own for it; MPS and the CPU say it in words.
    """
    said = str(error).lower()
    return (
        isinstance(error, torch.cuda.OutOfMemoryError)
        or "out of memory" in said
        or "can't allocate memory" in said
    )
