"""Which image-text model, from where: the table of them, and how one is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from uosam.errors import BackendError, ConfigError
from uosam.lookup import lookup
from uosam.structures import ImageText

IMAGE_TEXT = {
    "imagenet": "uosam.backends.text.imagenet:load",
    "folder": "uosam.backends.text.image_text:load",
}
"""Name to ``module:function``, for ``lookup``."""


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Which image-text model, from which folder, on which device.

    Attributes:
        name: "imagenet", whose words are ImageNet's classes; "folder", CLIP or SigLIP of
            transformers; or ``module:function`` of code outside this package.
        checkpoint: folder of the model, or for "imagenet" maybe a weights file.
        device: "auto" takes CUDA, then MPS, then the CPU; or any torch device name.
        precision: arithmetic of a model of transformers.
        batch_size: pictures or texts embedded at a time by a model of transformers.
    """

    name: str = "imagenet"
    checkpoint: str | None = None
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_size: int = 64

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a folder is asked for and none given, or ``batch_size`` is below 1.
        """
        if self.batch_size < 1:
            raise ConfigError(f"text.batch_size must be at least 1, got {self.batch_size}")
        if self.name == "folder" and self.checkpoint is None:
            raise ConfigError(
                "an image-text model of transformers needs its folder, got none; give "
                "--checkpoint FOLDER, or --model imagenet"
            )


def load_image_text(options: TextOptions, synsets: Sequence[str]) -> ImageText:
    """Load the model that ``options`` name.

    Args:
        options: which model.
        synsets: keys in WordNet of ImageNet's 1000 classes, in order.

    Raises:
        ConfigError: the name is not known.
        BackendError: the model is not installed, missing or damaged.
    """
    load = lookup("image-text model", options.name, IMAGE_TEXT)
    settings: dict[str, Any] = {"device": options.device}
    if options.name == "imagenet":
        settings["synsets"] = synsets
    elif options.name == "folder":
        settings |= {"precision": options.precision, "batch_size": options.batch_size}
    model: ImageText = load(options.checkpoint, **settings)
    return model


def text_digest(options: TextOptions) -> str:
    """Return SHA-256 of the weights file or folder of ``options``, or "none" without one.

    Raises:
        BackendError: the ImageNet package is not installed, or the folder is not there or empty.
    """
    from uosam.backends.imagenet.weights import find_weights
    from uosam.backends.weights.checkpoints import file_digest, folder_digest

    if options.name == "imagenet" and options.checkpoint is None:
        return file_digest(find_weights())
    if options.checkpoint is None:
        return "none"
    path = Path(options.checkpoint).expanduser()
    if path.is_dir():
        return folder_digest(path)
    if not path.is_file():
        raise BackendError(
            f"{path}: expected the folder of an image-text model, found nothing; give a local "
            "folder as save_pretrained writes it"
        )
    return file_digest(path)
