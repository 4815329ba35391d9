"""Settings of teaching a student."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from uosam.errors import ConfigError, InputError

_CHANGEABLE = {"device", "cache_gb"}


@dataclass(frozen=True, kw_only=True)
class StudentOptions:
    """How a student is taught.

    Attributes:
        side: long side at which pictures are seen, a multiple of 32.
        finetune: teach the encoder too; else its feature maps are computed once and kept.
        start: "imagenet" for the encoder's weights of the extra ``imagenet``, "random", or a file:
            the classifier's (.pth) or a student's (.safetensors).
        epochs: passes over the pictures, from which the number of steps follows ...
        least_steps: ... but no fewer than these,
        most_steps: and no more than these.
        pictures: crops in a step.
        crop: pixels along the square crops, a multiple of 32.
        views: versions of each picture with other colours that a frozen encoder sees, 0 or more.
        cache_gb: memory for feature maps, in GB of 10 ** 9 bytes; those beyond are computed again.
        learning_rate: of the decoder.
        encoder_rate: factor of the rate for the encoder, in [0, 1].
        weight_decay: of matrices and kernels.
        average: decay of the averaged weights, which are the teacher.
        band: cells of stride 4 on both sides of a boundary of the masks that are not taught.
        smoothing: share of a label that is given to the classes it is confused with, in [0, 1).
        balance: power of a class's rarity that its pixels are weighted with, in [0, 1].
        consistency: weight of agreeing with the teacher where it is sure.
        sure: probability from which the teacher is sure, in [0, 1].
        drop: share of channels that are dropped from each feature map, in [0, 1).
        held_back: share of the pictures that are not taught but asked, in [0, 0.5].
        check_every: steps between checks of the agreement on them.
        patience: checks without a better agreement after which it stops.
        seed: of everything random.
        precision: arithmetic of the network.
        device: "auto", or a torch device name.
    """

    side: int = 384
    finetune: bool = False
    start: str = "imagenet"
    epochs: int = 40
    least_steps: int = 300
    most_steps: int = 2500
    pictures: int = 8
    crop: int = 256
    views: int = 2
    cache_gb: float = 2.0
    learning_rate: float = 2e-3
    encoder_rate: float = 0.1
    weight_decay: float = 0.01
    average: float = 0.98
    band: int = 1
    smoothing: float = 0.1
    balance: float = 0.5
    consistency: float = 0.5
    sure: float = 0.8
    drop: float = 0.2
    held_back: float = 0.1
    check_every: int = 50
    patience: int = 6
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a value lies outside of what the attribute says.
        """
        for name in ("epochs", "least_steps", "most_steps", "pictures", "check_every", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"student.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("side", "crop"):
            value = getattr(self, name)
            if value % 32 or value < 32:
                raise ConfigError(f"student.{name} must be a multiple of 32, got {value}")
        for name in ("views", "band", "weight_decay", "consistency", "cache_gb"):
            if getattr(self, name) < 0:
                raise ConfigError(f"student.{name} must be at least 0, got {getattr(self, name)}")
        for name in ("encoder_rate", "average", "balance", "sure"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"student.{name} must be in [0, 1], got {getattr(self, name)}")
        for name, most in (("smoothing", 1.0), ("drop", 1.0), ("held_back", 0.51)):
            if not 0 <= getattr(self, name) < most:
                raise ConfigError(
                    f"student.{name} must be in [0, {most:g}), got {getattr(self, name)}"
                )
        if not self.learning_rate > 0:
            raise ConfigError(f"student.learning_rate must be above 0, got {self.learning_rate}")

    def steps(self, pictures: int) -> int:
        """Return the number of steps for so many taught pictures.

        >>> StudentOptions(epochs=40, pictures=8).steps(100)
        500
        """
        wanted = -(-pictures * self.epochs // self.pictures)
        return min(max(wanted, self.least_steps), self.most_steps)


def check_same_teaching(
    state: dict[str, Any], options: StudentOptions, digest: str, path: Path
) -> None:
    """Refuse to go on with other settings or files than a run began with.

    Raises:
        InputError: what differs.
    """
    wanted = asdict(options)
    stored = state.get("options", {})
    differing = [k for k, v in wanted.items() if k not in _CHANGEABLE and stored.get(k) != v]
    if differing:
        changes = ", ".join(f"{key} {stored.get(key)} -> {wanted[key]}" for key in differing)
        raise InputError(
            f"{path} is of a run with other settings ({changes}); use them, or an empty folder"
        )
    if state.get("digest") != digest:
        raise InputError(
            f"{path} is of a run with other pictures or masks; use those, or an empty folder"
        )
