"""Picking the weights of a network out of a checkpoint, and putting them in place."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from uosam.errors import BackendError

log = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]

_NAMED = 20
"""Names listed in a message at most."""


def entry(content: Any, name: str, path: Path) -> Any:
    """Return one entry of a checkpoint that is a dict.

    Raises:
        BackendError: there is no such entry.
    """
    if not isinstance(content, Mapping) or name not in content:
        got = _listed(content) if isinstance(content, Mapping) else type(content).__name__
        raise BackendError(f"{path} must be a checkpoint with an entry {name!r}, got {got}")
    return content[name]


def tensors(content: Any, path: Path, *, prefix: str = "") -> Tensors:
    """Return the float32 tensors whose names begin with ``prefix``, without it.

    Raises:
        BackendError: the content is not a dict, or no name begins so.
    """
    if not isinstance(content, Mapping):
        raise BackendError(f"{path} must hold a dict of tensors, got a {type(content).__name__}")
    found = {
        str(key)[len(prefix) :]: value.float() if value.is_floating_point() else value
        for key, value in content.items()
        if str(key).startswith(prefix) and isinstance(value, torch.Tensor)
    }
    if not found:
        raise BackendError(
            f"{path} must hold tensors with names {prefix + '*'!r}, got {_listed(content)}"
        )
    return found


def take(state: Tensors, name: str, path: Path) -> torch.Tensor:
    """Return one tensor.

    Raises:
        BackendError: it is not there.
    """
    if name not in state:
        raise BackendError(f"{path} lacks the tensor {name}, got {_listed(state)}")
    return state[name]


def fill(
    module: torch.nn.Module, state: Tensors, path: Path, *, ignored: Sequence[str] = ()
) -> torch.nn.Module:
    """Put tensors into a network, none missing, and make it ready to answer.

    Args:
        module: the network, which may be on the meta device: the tensors take the place of its own.
        state: name to tensor.
        path: where they came from, for the message.
        ignored: prefixes of names that this network is known not to need.

    Returns:
        The network, in evaluation mode. Unexpected names are logged as a warning.

    Raises:
        BackendError: tensors are missing, which are listed, or of another shape.
    """
    expected = module.state_dict()
    missing = sorted(expected.keys() - state.keys() - _counters(expected))
    if missing:
        raise BackendError(
            f"{path} lacks {len(missing)} of {len(expected)} tensors: {_listed(missing)}; it is a "
            "checkpoint of another model, or of another part of it"
        )
    present = {key: state[key] for key in expected if key in state}
    for key, value in present.items():
        if value.shape != expected[key].shape:
            raise BackendError(
                f"{path}: {key} must be {tuple(expected[key].shape)}, got {tuple(value.shape)}; "
                "it is a checkpoint of another model"
            )
    unexpected = [
        key for key in state if key not in expected and not key.startswith(tuple(ignored))
    ]
    if unexpected:
        log.warning("%s: %d tensors not used: %s", path, len(unexpected), _listed(unexpected))
    zeros = {key: torch.zeros((), dtype=torch.long) for key in expected.keys() - present.keys()}
    module.load_state_dict(present | zeros, strict=True, assign=True)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()


def _counters(expected: Mapping[str, object]) -> set[str]:
    """Batch counters, which torch before 0.4.1 did not store and evaluation does not read."""
    return {key for key in expected if key.endswith("num_batches_tracked")}


def _listed(names: Mapping[Any, Any] | Sequence[str]) -> str:
    texts = [str(name) for name in names]
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return (", ".join(texts[:_NAMED]) or "nothing") + more
