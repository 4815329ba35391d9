"""Which regions of a folder get a phrase, and from which model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from uosam.backends import BackendOptions
from uosam.backends.text.captioners import CaptionerOptions
from uosam.errors import ConfigError
from uosam.io.codecs import LabelOptions
from uosam.stages.everything import EverythingOptions


@dataclass(frozen=True, kw_only=True)
class CaptionOptions:
    """Which regions get a phrase, and from which model.

    Attributes:
        by: "regions" of masks; or, where no masks are needed, "proposals" of a segmenter, or
            "prompts": the points and boxes of a table.
        prompts: that table (``uosam.runs.words.asked``), for "prompts".
        whole_classes: one region for each id of a picture, not one for each of its parts.
        min_area: smallest region, as a share of the picture, in [0, 1].
        background: whether the background gets a phrase, too.
        most: phrases for a picture at most, the largest regions first; 0 for all.
        overlay: folder for pictures with the phrases; None draws none.
        workers: processes, each with its own models.
        overwrite: replace results of other settings.
        captioner: the model.
        backend: the segmenter of proposals; SCA brings its own.
        everything: how proposals are found.
        labels: how masks are read.
    """

    by: Literal["regions", "proposals", "prompts"] = "regions"
    prompts: str | None = None
    whole_classes: bool = False
    min_area: float = 0.001
    background: bool = False
    most: int = 0
    overlay: str | None = None
    workers: int = 1
    overwrite: bool = False
    captioner: CaptionerOptions = field(default_factory=CaptionerOptions)
    backend: BackendOptions = field(default_factory=BackendOptions)
    everything: EverythingOptions = field(default_factory=EverythingOptions)
    labels: LabelOptions = field(default_factory=LabelOptions)

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share outside [0, 1], a count too small, or an unknown unit.
        """
        if self.by not in ("regions", "proposals", "prompts"):
            raise ConfigError(f"caption.by must be regions, proposals or prompts, got {self.by!r}")
        if (self.by == "prompts") != (self.prompts is not None):
            raise ConfigError(
                "a table of points and boxes goes with --by prompts and that with it, got --by "
                f"{self.by} and {self.prompts or 'no table'}; give both --by prompts --prompts FILE"
            )
        if not 0 <= self.min_area <= 1:
            raise ConfigError(f"caption.min_area must be in [0, 1], got {self.min_area}")
        for name, least in (("most", 0), ("workers", 1)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"caption.{name} must be at least {least}, got {getattr(self, name)}"
                )
