"""Weights files of the SAM backends: found, checked and opened.

A file is opened by torch's weights-only reader, which builds tensors and runs no code of the file.
torch itself is imported only when a file is opened, so that listing models stays instant.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
import warnings
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from uosam.backends.models import MODELS, Model, weights_path
from uosam.errors import BackendError, unknown

if TYPE_CHECKING:
    import torch

_DAMAGE = (
    *(RuntimeError, OSError, EOFError, ValueError),
    *(LookupError, TypeError, AttributeError, struct.error),
)
"""What a reader of pickles may raise over bytes that are none, or are cut."""


def find_checkpoint(name: str, checkpoint: str | None) -> Path:
    """Return the weights file of a model, which is there and is not empty.

    Args:
        name: key of ``MODELS`` with a file.
        checkpoint: path the user gave; None takes ``weights_path``.

    Raises:
        ConfigError: there is no such model.
        BackendError: the model has no file, or the file is missing, empty or a folder.
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    model = MODELS[name]
    path = weights_path(model)
    if path is None:
        raise BackendError(f"{name} needs no weights file; use it as it is")
    if checkpoint:
        path = Path(checkpoint).expanduser()
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise BackendError(
            f"{name} needs its weights file {model.file}, found {found} at {path}; "
            f"{_get(model)}, or give your own with --checkpoint FILE"
        )
    if path.stat().st_size == 0:
        raise BackendError(f"{path} must hold the weights of {name}, got 0 bytes; {_again(name)}")
    return path


def digests(path: Path) -> tuple[str, str]:
    """Return SHA-256 and MD5 of a file in hexadecimal, read once."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
    return sha256.hexdigest(), md5.hexdigest()


def file_digest(path: Path) -> str:
    """Return SHA-256 of a file in hexadecimal; read again only if size or time changed."""
    stat = path.stat()
    return _remembered_digest(path.resolve(), stat.st_size, stat.st_mtime_ns)


def folder_digest(folder: Path) -> str:
    """Return SHA-256 over the names and digests of the settings and weights in a folder.

    Raises:
        BackendError: there are no such files in it.
    """
    suffixes = (".json", ".safetensors", ".bin")
    files = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
    if not files:
        raise BackendError(
            f"{folder} must be a folder with config.json and weights, found no such files"
        )
    lines = "".join(f"{path.name} {file_digest(path)}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


@lru_cache(maxsize=64)
def _remembered_digest(path: Path, size: int, mtime_ns: int) -> str:
    return digests(path)[0]


def read_state_dict(path: Path, name: str) -> dict[str, torch.Tensor]:
    """Read a flat name-to-tensor file onto the CPU without running any code it may hold.

    Raises:
        BackendError: the file is damaged, no torch file, unsafe, or not a flat dict of tensors.
    """
    import safetensors
    import safetensors.torch
    import torch

    try:
        with warnings.catch_warnings():
            # What torch warns of here ends in one of the errors below.
            warnings.simplefilter("ignore")
            if path.suffix == ".safetensors":
                content = safetensors.torch.load_file(path)
            else:
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BackendError(
            f"{path} must be the weights of {name}, got a file that is no torch checkpoint or "
            f"asks to run code of its own, which is refused; {_again(name)}"
        ) from error
    except (safetensors.SafetensorError, *_DAMAGE) as error:
        raise BackendError(
            f"{path} must be the weights of {name}, got a damaged or truncated file of "
            f"{path.stat().st_size} bytes; {_again(name)}"
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        what = _some(content) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise BackendError(
            f"{path} must be a flat dict of tensors of {name}, got {what}; save the state dict "
            f"alone, or {_again(name)}"
        )
    return content


def load_weights(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path, name: str
) -> None:
    """Put the tensors of a file into a module as float32, every name and shape agreeing.

    The tensors take the place of the module's own, which may be on the meta device: building a
    model without memory and filling it here is several times faster than drawing random weights.

    Args:
        module: the network, on any device.
        state: what ``read_state_dict`` gave.
        path: where it came from, for the error message.
        name: the model that was asked for.

    Raises:
        BackendError: names or shapes differ, for one because it is the file of another model.
    """
    import torch

    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    actual = {key: tuple(value.shape) for key, value in state.items()}
    if expected != actual:
        missing, extra = expected.keys() - actual.keys(), actual.keys() - expected.keys()
        reshaped = {key for key in expected.keys() & actual.keys() if expected[key] != actual[key]}
        faults = [
            f"{len(keys)} {what} ({_some(keys)})"
            for what, keys in (
                ("missing", missing),
                ("unexpected", extra),
                ("of another shape", reshaped),
            )
            if keys
        ]
        other = _recognise(actual)
        if other not in (None, name):
            remedy = f"the file looks like {other}: use --model {other}, or {_get(MODELS[name])}"
        else:
            remedy = _get(MODELS[name])
        raise BackendError(
            f"{path} must hold the {len(expected)} tensors of {name}, got {', '.join(faults)}; "
            f"{remedy}"
        )
    floats = {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }
    module.load_state_dict(floats, strict=True, assign=True)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    assert not any(tensor.device == torch.device("meta") for tensor in module.parameters())


def _recognise(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Name the SAM model that a table of tensor shapes belongs to, or None."""
    if "image_encoder.patch_embed.seq.0.c.weight" in shapes:
        return "vit_t"
    if "image_encoder.backbone.stem.1.weight" in shapes:
        return "tiny"
    width = shapes.get("image_encoder.pos_embed", (0,))[-1]
    return {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}.get(width)


def _again(name: str) -> str:
    return f"delete it and {_get(MODELS[name])}"


def _get(model: Model) -> str:
    if model.packaged:
        return "install uosam again, for the file is part of it"
    return f"get it with 'uosam models fetch {model.name}'"


def _some(keys: Iterable[object]) -> str:
    """Return the first three keys in order, for a message of one line."""
    names = sorted(str(key) for key in keys)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
