"""The networks by name, without weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from segment_anything.build_sam import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l

from uosam.backends.sam.lite0 import PIXEL_MEAN, PIXEL_STD
from uosam.backends.sam.tiny import build_sam_tiny
from uosam.backends.sam.tiny_vit import build_sam_vit_t

_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)
_PIXELS = {"tiny": (PIXEL_MEAN, PIXEL_STD)}  # all others have those of the segment-anything package

BUILDERS: dict[str, Callable[[], Any]] = {
    "tiny": build_sam_tiny,
    "vit_t": build_sam_vit_t,
    "vit_b": build_sam_vit_b,
    "vit_l": build_sam_vit_l,
    "vit_h": build_sam_vit_h,
}

POINT_LIMITS = {"tiny": (0.7, 0.5)}
"""Least score and stability of an answer to a lone point, to be a proposal, of networks whose
scores are unlike SAM's; calibrated on training pictures by ``benchmarks/proposals.py``."""


def normalise(sam: Any, name: str) -> None:
    """Give a network the mean and deviation of its pixels, its only tensors not in a file.

    Args:
        sam: the network; on the meta device these tensors have no values yet.
        name: key of ``BUILDERS``.
    """
    mean, deviation = _PIXELS.get(name, (_PIXEL_MEAN, _PIXEL_STD))
    sam.pixel_mean = torch.tensor(mean).view(-1, 1, 1)
    sam.pixel_std = torch.tensor(deviation).view(-1, 1, 1)
