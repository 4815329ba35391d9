"""What makes the image encoder of a ``Sam`` faster on the machine at hand, without other results.

Each step on a CPU is there because it measured faster on two cores; docs/speed.md has the numbers,
and what was tried and did not. None was measured on an accelerator here.
"""

from __future__ import annotations

import logging
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from uosam.backends.sam.relative_attention import (
    Attend,
    RelativeAttention,
    attend_flexibly,
    attend_fused,
    attend_in_blocks,
    exchange_attention,
)
from uosam.errors import BackendError

log = logging.getLogger(__name__)


def speed_up(encoder: nn.Module, device: torch.device, *, compiled: bool = False) -> None:
    """Rearrange an encoder in evaluation mode, in place, with its weights on ``device``.

    Args:
        encoder: of any ``Sam``.
        device: where it computes.
        compiled: also let ``torch.compile`` work on it, at the first picture.

    Raises:
        BackendError: there is no working compiler.
    """
    fold_norms(encoder)
    if compiled:
        _try_compiler(device)
    exchange_attention(encoder, choose_attention(device, compiled=compiled))
    if compiled:
        for module in encoder.modules():
            if isinstance(module, RelativeAttention) and module.attend is attend_in_blocks:
                # The compiler would write out its loops, pass by pass.
                module.forward = torch.compiler.disable(module.forward)  # type: ignore[no-untyped-call, method-assign]
        encoder.forward = torch.compile(encoder.forward)


def choose_attention(device: torch.device, *, compiled: bool = False) -> Attend:
    """Choose how cells attend on a device.

    CUDA has a compiler that adds the positions inside the kernel; where that does not work, they
    are a bias as without it.
    """
    if device.type == "cpu":
        return attend_in_blocks
    if not compiled or device.type != "cuda":
        return attend_fused
    try:
        attend: Attend = torch.compile(attend_flexibly)
        positions = torch.zeros(1, 4, 4, 4, device=device)
        attend(torch.zeros(3, 1, 16, 16, device=device), positions, positions, 1.0)
    except (RuntimeError, ImportError) as error:
        log.warning("attention has its positions as a bias, for FlexAttention failed: %s", error)
        return attend_fused
    return attend_flexibly


def fold_norms(encoder: nn.Module) -> None:
    """Multiply every batch normalisation into the convolution right before it, in place.

    A normalisation follows a convolution where it is the next member of the same module.
    """
    for module in list(encoder.modules()):
        members = list(module.named_children())
        for (name, first), (after, second) in pairwise(members):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(first, second))
                setattr(module, after, nn.Identity())


def _try_compiler(device: torch.device) -> None:
    """Compile an addition, for a missing compiler is found only when one is needed.

    Raises:
        BackendError: it does not work.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))
    except RuntimeError as error:
        reason = next(line for line in str(error).splitlines() if line.strip())
        raise BackendError(
            f"backend.compile needs a compiler that torch.compile can use on {device}, got "
            f"{reason.strip()!r}; install g++ (for CUDA: triton too), or leave the setting out"
        ) from error
