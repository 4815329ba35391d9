"""Array conventions, the values that cross stages, and the one seam to a segmenter.

Coordinates: an integer is the centre of a pixel; points and boxes are (x, y); boxes are first and
last pixel, inclusive (what SAM's prompt encoder expects, which adds the half pixel itself).
Sizes are always ``(H, W)`` and named ``hw``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError

IGNORE = -1
"""The label of a pixel nobody vouches for; every codec translates its own 255 / 1000 to this."""

LOGIT_SCALE = 4
"""Logit grids are this many times finer than the embedding's feature grid (SAM: 64 -> 256)."""

Image = NDArray[np.uint8]  # (H, W, 3) RGB
LabelMap = NDArray[np.int32]  # (H, W) class ids, or IGNORE; 0 is a real class
Masks = NDArray[np.bool_]  # (M, H, W)
Mask = NDArray[np.bool_]  # (H, W)
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelSpec:
    """What the ids of a label map mean, and how its file stored them.

    Attributes:
        codec: name of the codec that read the file and can write it back.
        background: id of the background, or None where every id is a real class (STEGO-style).
        ignore: stored value that means "ignore", or None if the encoding has none.
        names: id to class name.
        palette: RGB palette bytes of an indexed PNG, kept as read.
        dtype: numpy dtype of the stored array.
        key: name of the array inside an ``.npz``.
    """

    codec: str
    background: int | None = 0
    ignore: int | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    palette: bytes | None = None
    dtype: str = "uint8"
    key: str | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Embedding:
    """What a backend knows about one picture; a value, never a hidden current image.

    Attributes:
        features: (C, h, w) one vector per grid cell.
        extent: rows and columns of the grid that the picture covers, at most (h, w); SAM pads its
            square at the bottom and right, so a landscape picture covers (42.7, 64.0) of (64, 64).
        image_hw: size of the embedded picture in pixels.
        state: whatever ``decode`` of the same backend needs; nobody else looks into it.
    """

    features: Floats
    extent: tuple[float, float]
    image_hw: tuple[int, int]
    state: Any = None

    @property
    def logits_hw(self) -> tuple[int, int]:
        """Size of the logit grid that belongs to this embedding."""
        _, h, w = self.features.shape
        return h * LOGIT_SCALE, w * LOGIT_SCALE


@dataclass(frozen=True, eq=False, kw_only=True)
class Prompts:
    """B rows, each a question "which mask do you mean?" about the same picture.

    Attributes:
        points: (B, N, 2) x, y in pixels.
        point_labels: (B, N) 1 inside, 0 outside, -1 padding.
        boxes: (B, 4) x0, y0, x1, y1 in pixels, inclusive; None for a batch without boxes.
        logits: (B, 4h, 4w) mask of an earlier decode, or a soft coarse mask, on the logit grid of
            the embedding; positive inside; None for a batch without masks.
        labels: (B,) the class id each row stands for.
        asked: (B, H, W) the region each row was derived from, for whoever judges the answers;
            backends do not look at it. None for prompts that stand for no region.
        whole: (B,) True where the mask prompt may be only part of the object, or too large, so that
            the answer is the whole object it points at, not its own shape redrawn. None for False
            everywhere. Only backends with ``answers_whole`` know it, the others refuse it.
    """

    points: Floats
    point_labels: NDArray[np.int8]
    boxes: Floats | None = None
    logits: Floats | None = None
    labels: NDArray[np.int32]
    asked: Masks | None = None
    whole: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Hold the rows together.

        Raises:
            InputError: the arrays do not have the same number of rows or the stated shapes, or
                ``whole`` is set without mask prompts.
        """
        rows = len(self.labels)
        shapes = {
            "points": (self.points.shape, (rows, self.points.shape[1], 2)),
            "point_labels": (self.point_labels.shape, (rows, self.points.shape[1])),
        }
        if self.boxes is not None:
            shapes["boxes"] = (self.boxes.shape, (rows, 4))
        if self.logits is not None:
            shapes["logits"] = (self.logits.shape, (rows, *self.logits.shape[1:3]))
        if self.asked is not None:
            shapes["asked"] = (self.asked.shape, (rows, *self.asked.shape[1:3]))
        if self.whole is not None:
            shapes["whole"] = (self.whole.shape, (rows,))
        for name, (actual, expected) in shapes.items():
            if actual != expected:
                raise InputError(f"Prompts.{name} must be {expected}, got {actual}")
        if self.asks_whole and self.logits is None:
            raise InputError(
                "Prompts.whole says how to read mask prompts, got none; set logits, or leave it out"
            )

    @property
    def asks_whole(self) -> bool:
        """Whether any row asks for the whole object behind its mask prompt."""
        return self.whole is not None and bool(self.whole.any())

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False, kw_only=True)
class Proposals:
    """M masks answering rows of Prompts.

    Attributes:
        masks: (M, H, W) at the size of the picture.
        scores: (M,) the backend's own estimate of the mask's IoU, in [0, 1].
        stability: (M,) IoU of the mask cut at logits -1 and +1 (SAM's stability score), in [0, 1].
        logits: (M, 4h, 4w) on the logit grid of the embedding; a mask is where they are positive.
        row: (M,) which row of Prompts each mask answers.
    """

    masks: Masks
    scores: Floats
    stability: Floats
    logits: Floats
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


class Backend(Protocol):
    """A promptable segmenter. The stages know these two methods and nothing else."""

    def embed(self, image: Image) -> Embedding:
        """Encode one (H, W, 3) RGB picture."""
        ...

    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        *,
        multimask: bool = True,
        min_score: float = 0.0,
        min_stability: float = 0.0,
    ) -> Proposals:
        """Answer every row of ``prompts``, with up to three masks a row if ``multimask``.

        A batch of B rows equals B batches of one. Masks below either threshold are dropped before
        they are enlarged; rows may therefore have no answer.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the local region optimizer did with one object, and why.

    Attributes:
        label: class id.
        accepted: whether the redraw replaced the coarse shape.
        reason: "accepted", or the test of the gate that failed.
        score: the backend's estimate of the redraw's IoU.
        agreement: IoU of redraw and coarse object.
        area: pixels of the coarse object.
    """

    label: int
    accepted: bool
    reason: str
    score: float
    agreement: float
    area: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Refinement:
    """The result of refining one picture.

    Attributes:
        labels: (H, W) the refined map; every pixel has one label.
        local: (H, W) the map after the local region optimizer, before the vote.
        confidence: (H, W) in [0, 1].
        prompts: what the local region optimizer asked first.
        decisions: one per object and round of the local region optimizer.
        seconds: wall time by stage ("embed", "prompts", "local_region", "global_region").
    """

    labels: LabelMap
    local: LabelMap
    confidence: Floats
    prompts: Prompts
    decisions: tuple[Decision, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Paths of one picture and its masks; a few hundred bytes, free to send to a worker.

    Attributes:
        name: relative path without suffix, unique within a run.
        image: the picture.
        coarse: the coarse mask, if there is one.
        target: the ground truth, if there is one.
    """

    name: str
    image: Path | None = None
    coarse: Path | None = None
    target: Path | None = None
