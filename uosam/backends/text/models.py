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

_PICTURES = 8


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """Which image-text model, from which folder, on which device.

    Attributes:
        name: "imagenet", whose words are ImageNet's classes; "folder", CLIP or SigLIP of
            transformers; or ``module:function`` of code outside this package.
        checkpoint: folder of the model, or for "imagenet" maybe a weights file.
        device: "auto" takes CUDA, then MPS, then the CPU; or any torch device name.
        precision: arithmetic of a model of transformers.
        batch_size: crops or texts embedded at a time by a model of transformers.
        pictures: whose crops share batches; 0 for one on a CPU and eight elsewhere.
    """

    name: str = "imagenet"
    checkpoint: str | None = None
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    batch_size: int = 64
    pictures: int = 0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a folder is asked for and none given, or a number is too small.
        """
        if self.pictures < 0:
            raise ConfigError(f"text.pictures must be at least 0, got {self.pictures}")
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
    try:
        model: ImageText = load(options.checkpoint, **settings)
    except TypeError as error:
        if options.name in IMAGE_TEXT:
            raise
        raise ConfigError(
            f"image-text model {options.name!r} must be a function load(checkpoint, *, device) "
            f"that returns an ImageText, got {error}"
        ) from error
    return model


def pictures_at_a_time(options: TextOptions) -> int:
    """Return how many pictures share batches of crops.

    Raises:
        BackendError: the device is not there.
    """
    if options.pictures or options.device == "cpu":
        return options.pictures or 1
    from uosam.backends.device import choose_device

    return 1 if choose_device(options.device).type == "cpu" else _PICTURES


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
