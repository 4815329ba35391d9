"""Folders as ``save_pretrained`` of transformers writes them: read whole, locally, or refused."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uosam.errors import BackendError

Config = Mapping[str, Any]
"""What a folder's ``config.json`` holds."""


def read_config(folder: str | Path, purpose: str) -> Config:
    """Read ``config.json`` of a folder and see that there are weights that cannot run code.

    Args:
        folder: path, ``~`` allowed.
        purpose: what the model is to be, for messages: "an image-text model".

    Raises:
        BackendError: no such folder, no config.json in it, or no ``.safetensors``.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise BackendError(
            f"{path}: expected the folder of {purpose}, found none; give a local folder as "
            "save_pretrained writes it (nothing is downloaded)"
        )
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
        kind = config.get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise BackendError(
            f"{path} must hold config.json, as save_pretrained writes it, got {error}; copy the "
            "whole folder"
        ) from error
    if not list(path.glob("*.safetensors")):
        raise BackendError(
            f"{path} must hold its {kind} weights as .safetensors, found none; load the model "
            "once where it came from and save it with save_pretrained"
        )
    return dict(config)


def library(purpose: str) -> Any:
    """Return the transformers package.

    Raises:
        BackendError: it is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise BackendError(
            f"{purpose} needs the package transformers, which is not installed; get it with "
            "pip install 'uosam[hf]'"
        ) from error


def load_network(folder: str | Path, loader: str, purpose: str) -> Any:
    """Load a network in float32 for evaluation, all of its weights, and nothing from the net.

    Args:
        folder: that ``read_config`` accepted.
        loader: name of a class of transformers with ``from_pretrained``.
        purpose: what the model is to be, for messages.

    Raises:
        BackendError: the weights are damaged, some are missing, or the model is of another kind.
    """
    path = Path(folder).expanduser()
    with _quietly(library(purpose)) as transformers:
        try:
            network, info = getattr(transformers, loader).from_pretrained(
                str(path),
                local_files_only=True,
                output_loading_info=True,
                use_safetensors=True,
                dtype="float32",
            )
        except Exception as error:  # of its readers, each with a type of its own
            raise _damaged(path, purpose, error) from error
    lacking = sorted(info["missing_keys"])
    if lacking:
        raise BackendError(
            f"{path} must hold all weights of {purpose}, but {len(lacking)} are missing "
            f"({', '.join(lacking[:3])}{', ...' if len(lacking) > 3 else ''}); save the whole model"
        )
    return network.eval().requires_grad_(False)


def load_processor(
    folder: str | Path, purpose: str, loader: str = "AutoProcessor", **settings: Any
) -> Any:
    """Load what prepares pictures and texts for a network.

    Args:
        folder: that ``read_config`` accepted.
        purpose: what the model is to be, for messages.
        loader: name of a class of transformers with ``from_pretrained``.
        settings: of that class, in place of the folder's.

    Raises:
        BackendError: its files are missing or damaged.
    """
    path = Path(folder).expanduser()
    with _quietly(library(purpose)) as transformers:
        try:
            return getattr(transformers, loader).from_pretrained(
                str(path), local_files_only=True, **settings
            )
        except Exception as error:  # of its readers, each with a type of its own
            raise _damaged(path, purpose, error) from error


def _damaged(path: Path, purpose: str, error: Exception) -> BackendError:
    reason = " ".join(str(error).split())[:200]
    return BackendError(
        f"{path} must hold {purpose} with all its files, got {type(error).__name__}: {reason}; "
        "copy the whole folder again"
    )


@contextmanager
def _quietly(transformers: Any) -> Iterator[Any]:
    """Keep the library from printing warnings and progress bars into ours."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
