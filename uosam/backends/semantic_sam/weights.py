"""Strict loading of the public weights files: every key accounted for, and nothing run."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from uosam.backends.semantic_sam.network import SIZES, SemanticSam
from uosam.backends.semantic_sam.swin import relative_index
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.errors import BackendError

log = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]

PREFIX = "model."
_PREDICTOR = "sem_seg_head.predictor."
_ROUNDS = 9
DROPPED = {
    f"{_PREDICTOR}lang_mapper": (512, 256),
    f"{_PREDICTOR}class_embed": (256, 512),
    f"{_PREDICTOR}class_embed_part": (256, 512),
}
"""Matrices of heads that were never released; checked for their shape and let go."""
OPTIONAL = {"criterion.empty_weight": (2,)}
"""Left from training in some of the files."""
_FIRST = "backbone.patch_embed.proj.weight"
_BESIDE = {"model", "optimizer", "scheduler", "iteration"}


def aliases(names: Mapping[str, Any]) -> dict[str, str]:
    """Return the further names that tensors of a network have in the files, and their own names.

    Args:
        names: the network's own state dict.
    """
    found: dict[str, str] = {}
    for name in names:
        for own, others in (
            (
                f"{_PREDICTOR}_bbox_embed.",
                [
                    f"{_PREDICTOR}{place}bbox_embed.{number}."
                    for place in ("decoder.", "")
                    for number in range(_ROUNDS)
                ],
            ),
            (f"{_PREDICTOR}decoder_norm.", [f"{_PREDICTOR}decoder.norm."]),
        ):
            if name.startswith(own):
                found |= {other + name.removeprefix(own): name for other in others}
    return found


def load_network(path: Path, name: str) -> SemanticSam:
    """Build the network of a name and fill it from its file.

    Args:
        path: of the weights file.
        name: key of ``SIZES``.

    Raises:
        BackendError: the file is damaged, or as ``fill``.
    """
    with torch.device("meta"):
        network = SemanticSam(SIZES[name])
    fill(network, read_checkpoint(path), path, name)
    return network


def fill(network: SemanticSam, content: Any, path: Path, name: str) -> None:
    """Put what a weights file holds into a network, which may be on the meta device.

    Args:
        network: in evaluation mode and without gradients afterwards.
        content: tensors by name, or a training checkpoint with them under "model".
        path: of the file, for messages.
        name: key of ``SIZES``, for messages.

    Raises:
        BackendError: a key is missing, unexpected, of another shape or not under ``model.``; two
            names of one tensor differ; or it is no such content.
    """
    state = _strip(_model(content, path, name), path, name)
    expected = network.state_dict()
    shapes = {key: tuple(value.shape) for key, value in expected.items()}
    further = aliases(expected)
    shapes |= {other: shapes[own] for other, own in further.items()} | DROPPED
    _check_names(state, shapes, path, name)
    for other, own in further.items():
        if not torch.equal(state[other], state[own]):
            raise BackendError(
                f"{path} must hold one tensor under {other} and {own}, got two that differ; it is "
                f"a file of another model than {name}"
            )
    _check_places(state, expected, path, name)
    network.load_state_dict({key: state[key] for key in expected}, strict=True, assign=True)
    network.eval().requires_grad_(False)


def _model(content: Any, path: Path, name: str) -> Mapping[str, Any]:
    """Take the entry ``model`` of a training checkpoint, or the whole."""
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        beside = sorted(str(key) for key in content if key != "model")
        strange = [key for key in beside if key not in _BESIDE]
        if strange:
            raise BackendError(
                f"{path} must hold the weights of {name} under 'model', and beside it at most "
                f"optimizer, scheduler and iteration, got {_some(strange)}"
            )
        if beside:
            log.info("%s: %s left unread, only 'model' is used", path, ", ".join(beside))
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise BackendError(
            f"{path} must hold the weights of {name} as a dict of tensors, got "
            f"{'an empty one' if content == {} else type(content).__name__}"
        )
    return content


def _strip(content: Mapping[str, Any], path: Path, name: str) -> Tensors:
    """Take the prefix off all keys."""
    strange = [key for key in content if not str(key).startswith(PREFIX)]
    if strange:
        raise BackendError(
            f"{path} must hold the tensors of {name} under names that begin with {PREFIX!r}, got "
            f"{len(strange)} that do not ({_some(strange)})"
        )
    state = {str(key).removeprefix(PREFIX): value for key, value in content.items()}
    others = [key for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise BackendError(f"{path} must hold tensors alone, got others under {_some(others)}")
    return {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }


def _check_names(
    state: Tensors, shapes: Mapping[str, tuple[int, ...]], path: Path, name: str
) -> None:
    first = tuple(state[_FIRST].shape) if _FIRST in state else ()
    for other, size in SIZES.items():
        if other != name and first == (size.width, 3, 4, 4):
            raise BackendError(
                f"{path} must hold the weights of {name}, got those of {other}; use --model {other}"
            )
    known = {**shapes, **{key: OPTIONAL[key] for key in OPTIONAL if key in state}}
    missing = [key for key in shapes if key not in state]
    extra = [key for key in state if key not in known]
    reshaped = [key for key in state if key in known and tuple(state[key].shape) != known[key]]
    for what, keys in (
        ("lacks", missing),
        ("has tensors unknown to it:", extra),
        ("has tensors of another shape:", reshaped),
    ):
        if keys:
            raise BackendError(
                f"{path} must hold the {len(shapes)} tensors of {name}, but it {what} {len(keys)} "
                f"({_some(keys)}); it is a file of another model"
            )


def _check_places(state: Tensors, keys: Iterable[str], path: Path, name: str) -> None:
    """Hold the stored tables of relative positions against those computed."""
    for key in keys:
        if not key.endswith("relative_position_index"):
            continue
        window = math.isqrt(len(state[key]))
        if not torch.equal(state[key].long(), relative_index(window)):
            raise BackendError(
                f"{path}: {key} must be the table of places in a window of {window}, got another; "
                f"it is a file of another model than {name}"
            )


def _some(keys: list[Any]) -> str:
    return ", ".join(str(key) for key in keys[:3]) + (", ..." if len(keys) > 3 else "")
