"""Weights files of the SAM backends: found, checked and opened.

Files are read by ``restricted_pickle`` or by safetensors, neither of which runs code of a file; the
content tells which, not the suffix. torch is imported only when a file is opened, so that listing
models stays instant.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uosam.backends.models import MODELS, Model, weights_path
from uosam.errors import BackendError, unknown

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


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
    own = None if not checkpoint else Path(checkpoint).expanduser()
    path = path if own is None else own
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        if own is not None:
            raise BackendError(
                f"--checkpoint must be a weights file for {name}, found {found} at {path}; check "
                f"the path, {_again(name, path)}"
            )
        raise BackendError(
            f"{name} needs its weights file {model.file}, found {found} at {path}; "
            f"{_get(model)}, or give your own with --checkpoint FILE"
        )
    if path.stat().st_size == 0:
        raise BackendError(
            f"{path} must hold the weights of {name}, got 0 bytes; {_again(name, path)}"
        )
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


def read_content(path: Path) -> Any:
    """Read a torch or safetensors file onto the CPU without running any code it may hold.

    Raises:
        BackendError: the file is damaged, or neither.
    """
    import safetensors
    import safetensors.torch

    from uosam.backends.weights.restricted_pickle import read_checkpoint

    try:
        with path.open("rb") as file:
            start = file.read(9)
        is_torch = start.startswith((b"PK\x03\x04", b"\x80\x02"))
        if start[8:] != b"{" and (is_torch or path.suffix != ".safetensors"):
            return read_checkpoint(path)
        return safetensors.torch.load_file(path)
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise BackendError(
            f"{path} must be a safetensors file, got a damaged or truncated file of "
            f"{path.stat().st_size} bytes ({error})"
        ) from error


def read_state_dict(path: Path, name: str) -> dict[str, torch.Tensor]:
    """Read the tensors by name in a file, alone or among what training code saved with them.

    Raises:
        BackendError: the file is damaged, no torch or safetensors file, unsafe, or without a dict
            of tensors.
    """
    from uosam.backends.weights.recognise import find_state

    try:
        content = read_content(path)
    except BackendError as error:
        raise BackendError(f"{error}; {_again(name, path)}") from error
    state = find_state(content)
    if state is None:
        what = _some(content) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise BackendError(
            f"{path} must hold tensors by name of {name}, alone or as its entry 'model' or "
            f"'state_dict', got {what}; {_again(name, path)}"
        )
    return state


def load_weights(
    module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path, name: str
) -> None:
    """Put the tensors of a file into a module as float32, every name and shape of it agreeing.

    A prefix before all names is cut off; tensors that the module lacks (further heads) are named
    in a warning.

    The tensors take the place of the module's own, which may be on the meta device: building a
    model without memory and filling it here is several times faster than drawing random weights.

    Args:
        module: the network, on any device.
        state: what ``read_state_dict`` gave.
        path: where it came from, for the error message.
        name: the model that was asked for.

    Raises:
        BackendError: tensors are missing or of another shape, or it is the file of another model.
    """
    import torch

    from uosam.backends.weights.recognise import recognise, recognise_other, without_prefix

    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    state = without_prefix(state, expected)
    actual = {key: tuple(value.shape) for key, value in state.items()}
    other = recognise_other(state)
    if other is not None:
        remedy = (
            "give it with --model semantic_sam_t or semantic_sam_l"
            if other == "Semantic-SAM"
            else "SAM, SAM-HQ and SAM 2 are read from a folder of transformers, with --model hf "
            "--checkpoint FOLDER"
        )
        raise BackendError(
            f"{path} must hold the weights of {name}, got a {other}, which is another network; "
            f"{remedy}"
        )
    missing, extra = expected.keys() - actual.keys(), actual.keys() - expected.keys()
    reshaped = {key for key in expected.keys() & actual.keys() if expected[key] != actual[key]}
    if missing or reshaped:
        faults = [
            f"{len(keys)} {what} ({_some(keys)})"
            for what, keys in (
                ("missing", missing),
                ("unexpected", extra),
                ("of another shape", reshaped),
            )
            if keys
        ]
        other = recognise(actual)
        if other not in (None, name):
            remedy = f"the file looks like {other}: use --model {other}, or {_get(MODELS[name])}"
        elif path == weights_path(MODELS[name]):
            remedy = _get(MODELS[name])
        else:
            remedy = f"it is of another network, or not all of one; {_again(name, path)}"
        raise BackendError(
            f"{path} must hold the {len(expected)} tensors of {name}, got {', '.join(faults)}; "
            f"{remedy}"
        )
    if extra:
        log.warning("%s: %d tensors not used: %s", path, len(extra), _some(extra))
    floats = {
        key: value.float() if value.is_floating_point() else value
        for key, value in state.items()
        if key in expected
    }
    module.load_state_dict(floats, strict=True, assign=True)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    assert not any(tensor.device == torch.device("meta") for tensor in module.parameters())


def _again(name: str, path: Path) -> str:
    """Say how to come by the right file; only one that uosam put there may be thrown away."""
    model = MODELS[name]
    if path == weights_path(model):
        return f"delete it and {_get(model)}"
    if model.packaged:
        return f"or leave out --checkpoint, for {name} comes with uosam"
    return f"or leave out --checkpoint and {_get(model)}"


def _get(model: Model) -> str:
    if model.packaged:
        return "install uosam again, for the file is part of it"
    if not model.sha256:
        return f"get it from {model.url}"
    return f"get it with 'uosam models fetch {model.name}'"


def _some(keys: Iterable[object]) -> str:
    """Return the first three keys in order, for a message of one line."""
    names = sorted(str(key) for key in keys)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
