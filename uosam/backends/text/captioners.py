"""The table of captioners and the one function that builds them; text, so that it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uosam.backends.weights.checkpoints import folder_digest
from uosam.errors import BackendError, ConfigError, InputError
from uosam.lookup import lookup
from uosam.structures import Captioner, Image, Masks

CAPTIONERS = {
    "sca": "uosam.backends.text.sca:load",
    "crop": "uosam.backends.text.crop:load",
}
"""Name to ``module:function``, for ``lookup``."""


@dataclass(frozen=True, kw_only=True)
class CaptionerOptions:
    """Which captioner, from which folder, and how it searches for phrases.

    Attributes:
        name: a key of ``CAPTIONERS`` or ``module:function`` of code outside this package.
        checkpoint: local folder as ``save_pretrained`` writes it; nothing is downloaded.
        tokenizer: folder of the tokenizer where the checkpoint has none ("sca").
        device: "auto" takes CUDA, then MPS, then the CPU; or any torch device name.
        precision: of the language model; bfloat16 on request.
        batch: regions in work at a time; halved on out-of-memory.
        beams: width of the search for a phrase; 1 is greedy.
        max_new_tokens: length of a phrase at most; 19 is what the public SCA writes.
        context: what the box of a region is widened by, as a share of its sides ("crop").
        background: what stands outside the region: "keep", "white", "mean" or "blur" ("crop").
        question: what models that chat are asked ("crop").
    """

    name: str = "sca"
    checkpoint: str | None = None
    tokenizer: str | None = None
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    batch: int = 32
    beams: int = 3
    max_new_tokens: int = 19
    context: float = 0.1
    background: Literal["keep", "white", "mean", "blur"] = "keep"
    question: str = "Describe this object in a short phrase."

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a count is below 1, ``context`` is negative, or a choice is unknown.
        """
        for name in ("batch", "beams", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"captioner.{name} must be at least 1, got {getattr(self, name)}")
        if self.context < 0:
            raise ConfigError(f"captioner.context must be at least 0, got {self.context}")
        for name, offered in (
            ("precision", ("float32", "bfloat16")),
            ("background", ("keep", "white", "mean", "blur")),
        ):
            if getattr(self, name) not in offered:
                raise ConfigError(
                    f"captioner.{name} must be {' or '.join(offered)}, got {getattr(self, name)!r}"
                )

    def folder(self, purpose: str) -> Path:
        """Return the folder of the checkpoint.

        Raises:
            BackendError: none was given, or there is none.
        """
        if self.checkpoint is None:
            raise BackendError(
                f"captioner {self.name!r} needs the local folder of {purpose}, got none; give "
                "--checkpoint FOLDER (nothing is downloaded)"
            )
        path = Path(self.checkpoint).expanduser()
        if not path.is_dir():
            raise BackendError(f"{path}: expected the folder of {purpose}, found none")
        return path


def load_captioner(options: CaptionerOptions) -> Captioner:
    """Build the captioner that ``options`` names.

    Raises:
        ConfigError: the name is not known.
        BackendError: its folder is missing, wrong or damaged.
    """
    captioner: Captioner = lookup("captioner", options.name, CAPTIONERS)(options)
    return captioner


def captioner_digest(options: CaptionerOptions) -> str:
    """Return SHA-256 of the folder of a captioner, or "none" without one."""
    if options.checkpoint is None:
        return "none"
    path = Path(options.checkpoint).expanduser()
    return folder_digest(path) if path.is_dir() else "none"


def check_regions(image: Image, masks: Masks) -> None:
    """See that every region has a pixel and the size of its picture.

    Raises:
        InputError: which one has not.
    """
    if masks.ndim != 3 or masks.shape[1:] != image.shape[:2]:
        raise InputError(
            f"masks must be (M, {image.shape[0]}, {image.shape[1]}), as the picture, got "
            f"{masks.shape}"
        )
    for number, mask in enumerate(masks):
        if not mask.any():
            raise InputError(f"region {number} has no pixels; leave it out")
