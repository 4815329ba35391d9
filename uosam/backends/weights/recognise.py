"""What a weights file holds: a network among what training code saves with it, and which one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_ENTRIES = (
    *("model", "state_dict", "model_state_dict", "model_state", "average", "ema", "model_ema"),
    *("module", "network", "net", "sam", "sam_model", "weights", "params"),
)
"""Entries under which training code keeps the weights, the first of them taken."""

_MARKS = {
    "SAM-HQ": (".hf_token.", ".hq_token."),
    "SAM 2": ("image_encoder.trunk.",),
    "SAM 2 of transformers": ("vision_encoder.backbone.",),
    "SAM of transformers": ("vision_encoder.",),
    "tiny of uosam 0.1": ("image_encoder.stages.0.0.0.weight",),
    "Semantic-SAM": ("sem_seg_head.predictor.",),
}
"""Other networks by names of tensors that only they have."""

_OURS = {
    "tiny": "image_encoder.backbone.stem.0.weight",
    "vit_t": "image_encoder.patch_embed.seq.0.c.weight",
}
_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_WIDTH = "image_encoder.pos_embed"


def find_state(content: Any) -> dict[str, torch.Tensor] | None:
    """Return the tensors by name in what was saved: alone, beside an epoch, or a level or two down.

    >>> find_state({"model": {"a": torch.ones(1)}, "optimizer": {"lr": 1}, "epoch": 3})
    {'a': tensor([1.])}
    """
    for _ in range(3):
        if not isinstance(content, Mapping):
            return None
        state = {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}
        entries = [name for name in _ENTRIES if isinstance(content.get(name), Mapping)]
        if state and not entries:
            return state
        if not entries:
            return None
        content = content[entries[0]]
    return None


def without_prefix(state: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Cut off what DataParallel, Lightning or an own module put before all names of a network.

    Args:
        state: tensors by name.
        expected: the same of the network.

    Returns:
        The tensors below the prefix that makes most names fit; all of them if none does.

    >>> without_prefix({"module.a.b": 1, "head": 2}, {"a.b": 0})
    {'a.b': 1}
    """
    # The first tensor of each part of the network; another network may lack some of them.
    anchors = {name.partition(".")[0]: name for name in reversed(list(expected))}.values()
    prefixes = {""} | {
        name.removesuffix(anchor)
        for name in state
        for anchor in anchors
        if name.endswith("." + anchor)
    }

    def fits(prefix: str) -> int:
        return sum(prefix + name in state for name in expected)

    best = max(sorted(prefixes), key=fits)
    return {name[len(best) :]: value for name, value in state.items() if name.startswith(best)}


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Name the SAM of this package that a table of tensor shapes belongs to, or None."""
    for model, mark in _OURS.items():
        if mark in shapes:
            return model
    return _WIDTHS.get(shapes.get(_WIDTH, (0,))[-1])


def recognise_other(names: Mapping[str, object]) -> str | None:
    """Name another known network that the names of tensors belong to, or None.

    >>> recognise_other({"mask_decoder.hf_token.weight": 0})
    'SAM-HQ'
    """
    for title, marks in _MARKS.items():
        if any(mark in name for mark in marks for name in names):
            return title
    return None
