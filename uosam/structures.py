"""Array conventions, the values that cross stages, and the one seam to a segmenter.

Coordinates: an integer is the centre of a pixel; points and boxes are (x, y); boxes are first and
last pixel, inclusive (what SAM's prompt encoder expects, which adds the half pixel itself).
Sizes are always ``(H, W)`` and named ``hw``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from uosam.demand import HeldMask, OnDemand, PackedMask, given
from uosam.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

IGNORE = -1
"""The label of a pixel nobody vouches for; every codec translates its own 255 / 1000 to this."""

LOGIT_SCALE = 4
"""Logit grids are this many times finer than the embedding's feature grid (SAM: 64 -> 256)."""

LEVELS = 6
"""Levels of granularity at most: 1 whole ... 6 smallest part (Semantic-SAM, arXiv 2307.04767)."""

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
        dtype: numpy dtype of the stored array; if left out, that of the codec's files.
        key: name of the array inside an ``.npz``.
        colours: name of the colour table of a colour-coded map.
    """

    codec: str
    background: int | None = 0
    ignore: int | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    palette: bytes | None = None
    dtype: str = ""
    key: str | None = None
    colours: str | None = None

    def __post_init__(self) -> None:
        """Take the dtype of the codec if none was given."""
        if not self.dtype:
            dtype = "uint16" if self.codec == "index16" else "uint8"
            object.__setattr__(self, "dtype", dtype)


@dataclass(frozen=True, eq=False, kw_only=True)
class Embedding:
    """What a backend knows about one picture; a value, never a hidden current image.

    Attributes:
        features: (C, h, w) one vector per grid cell; fetched from an accelerator when asked for.
        extent: rows and columns of the grid that the picture covers, at most (h, w); SAM pads its
            square at the bottom and right, so a landscape picture covers (42.7, 64.0) of (64, 64).
        image_hw: size of the embedded picture in pixels.
        state: whatever ``decode`` of the same backend needs; nobody else looks into it.
    """

    features: OnDemand[Floats] = OnDemand()  # noqa: RUF009
    extent: tuple[float, float]
    image_hw: tuple[int, int]
    state: Any = None

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Size (h, w) of the feature grid; features that lie on an accelerator stay there."""
        _, h, w = given(self, "features").shape
        return h, w

    @property
    def logits_hw(self) -> tuple[int, int]:
        """Size of the logit grid that belongs to this embedding."""
        h, w = self.grid_hw
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
        levels: (B, L) levels of granularity that each row asks for, 1 to ``LEVELS`` in rising
            order, 0 as padding; None lets the backend choose.
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
    levels: NDArray[np.int8] | None = None
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
        if self.levels is not None:
            shapes["levels"] = (self.levels.shape, (rows, *self.levels.shape[1:2]))
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

    ``masks`` and ``logits`` are arrays, or something that makes them when they are asked for
    (``uosam.demand``), as a whole or, by the methods below, what is needed of them.

    Attributes:
        masks: (M, H, W) at the size of the picture.
        scores: (M,) the backend's own estimate of the mask's IoU, in [0, 1].
        stability: (M,) IoU of the mask cut at logits -1 and +1 (SAM's stability score), in [0, 1].
        logits: (M, 4h, 4w) on the logit grid of the embedding; a mask is where they are positive.
        row: (M,) which row of Prompts each mask answers.
        level: (M,) level of granularity of each mask, 1 to ``LEVELS``, or 0 where the backend
            names none; all 0 if left out.
    """

    masks: OnDemand[Masks] = OnDemand()  # noqa: RUF009
    scores: Floats
    stability: Floats
    logits: OnDemand[Floats] = OnDemand()  # noqa: RUF009
    row: NDArray[np.int64]
    level: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))

    def __post_init__(self) -> None:
        """Name no level where none was given.

        Raises:
            InputError: there are not as many levels as masks.
        """
        if not len(self.level):
            object.__setattr__(self, "level", np.zeros(len(self.scores), np.int8))
        if len(self.level) != len(self.scores):
            raise InputError(
                f"Proposals.level must be {(len(self.scores),)}, got {self.level.shape}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def mask(self, index: int) -> Mask:
        """Make one (H, W) mask."""
        mask: Mask = given(self, "masks")[index]
        return mask

    def grid(self, index: int) -> Floats:
        """Fetch the (4h, 4w) logits of one mask."""
        logits: Floats = given(self, "logits")[index]
        return logits

    def cut(self, limit: float = 0.0) -> NDArray[np.uint8]:
        """Return (M, 4h * 4w / 8) bits, packed as by ``numpy.packbits``: where logits exceed it."""
        logits = given(self, "logits")
        if isinstance(logits, np.ndarray):
            cells = math.prod(logits.shape[1:])
            return np.packbits((logits > limit).reshape(len(logits), cells), axis=1)
        bits: NDArray[np.uint8] = logits.cut(limit)
        return bits

    def have(self, pixels: int) -> NDArray[np.bool_]:
        """Tell for each of the M masks whether it has at least so many pixels."""
        masks = given(self, "masks")
        if isinstance(masks, np.ndarray):
            return np.array([np.count_nonzero(mask) >= pixels for mask in masks], bool)
        found: NDArray[np.bool_] = masks.have(pixels)
        return found

    def hold(self, index: int) -> HeldMask:
        """Keep one mask for later in little memory, where it lies."""
        masks = given(self, "masks")
        if isinstance(masks, np.ndarray):
            return PackedMask.of(masks[index])
        held: HeldMask = masks.hold(index)
        return held


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

        Rows that ask for levels get one mask a level instead, in their order; a backend without
        levels refuses them.

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
        reason: "accepted", or why not.
        score: the backend's estimate of the redraw's IoU.
        agreement: IoU of redraw and coarse object.
        area: pixels of the coarse object.
        round: of the local region optimizer, from 1 on.
        answer: how the redraw was asked for, if a judge chose among several; "" else.
        gain: by how much the judge expects the redraw's IoU to exceed that of the coarse shape;
            0 without a judge.
    """

    label: int
    accepted: bool
    reason: str
    score: float
    agreement: float
    area: int
    round: int = 1
    answer: str = ""
    gain: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Guide:
    """A second picture of the same view, such as rendered depth: where proposals are found.

    Attributes:
        image: (H, W, 3) RGB, of the size of the photograph.
        holes: (H, W) where the picture was made up, as nothing was measured there; a proposal that
            lies in holes by more than half does not count. None where there are none.
    """

    image: Image
    holes: Mask | None = None


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Refinement:
    """The result of refining one picture; it draws, shows and saves itself.

    Attributes:
        labels: (H, W) the refined map, from ``uosam.refine`` in dtype and coding of what came in,
            (H, W, 3) for LUSS.
        ids: (H, W) the same map as class ids, IGNORE where unknown.
        coarse: (H, W) the map that came in, as ``ids``.
        image: (H, W, 3) RGB, the picture.
        local: (H, W) the ids after the local region optimizer, before the vote.
        confidence: (H, W) in [0, 1].
        prompts: what the local region optimizer asked first.
        verdicts: one per object and round of the local region optimizer.
        seconds: wall time by stage ("embed", "prompts", "local_region", "global_region").
        spec: what the ids mean, and how the mask that came in stored them.
        stored: the mask that came in as it was stored; None where it was ids already.
    """

    labels: NDArray[Any]
    ids: LabelMap
    coarse: LabelMap
    image: Image
    local: LabelMap
    confidence: Floats
    prompts: Prompts
    verdicts: tuple[Decision, ...]
    seconds: Mapping[str, float]
    spec: LabelSpec
    stored: NDArray[Any] | None = None

    @property
    def decisions(self) -> pd.DataFrame:
        """Return the verdicts as a data frame: a column each attribute, and the class name."""
        from uosam.report.result import decision_frame

        return decision_frame(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw before and after side by side into matplotlib axes, new ones if none are given.

        Raises:
            ConfigError: matplotlib is not installed.
        """
        from uosam.report.result import plot_result

        return plot_result(self, ax)

    def show(self) -> None:
        """Open before and after in a viewer or the notebook; InputError without a viewer."""
        from uosam.report.result import show_result

        show_result(self)

    def save(self, path: str | Path, *, drawing: bool = False) -> None:
        """Write the refined mask in the encoding of the mask that came in, or the drawing of it.

        Args:
            path: of the mask, PNG or ``.npy`` or ``.npz``; of a drawing, PNG or JPEG.
            drawing: write before and after side by side instead of the mask.

        Raises:
            InputError: the suffix suits no encoding that holds these ids.
        """
        from uosam.report.result import save_result

        save_result(self, Path(path), drawing=drawing)

    def _repr_png_(self) -> bytes:
        """Return before and after as a PNG, which notebooks show."""
        from uosam.report.result import draw_png

        return draw_png(self)

    def __repr__(self) -> str:
        """Say in one line what was refined and how much of it changed."""
        height, width = self.ids.shape
        asked = {verdict.label for verdict in self.verdicts}
        redrawn = {verdict.label for verdict in self.verdicts if verdict.accepted}
        changed = 100 * np.count_nonzero(self.ids != self.coarse) / max(1, self.ids.size)
        return (
            f"Refinement({height} x {width}, {len(redrawn)} of {len(asked)} objects redrawn, "
            f"{changed:.1f} % of pixels changed, {sum(self.seconds.values()):.2f} s)"
        )


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


class ImageText(Protocol):
    """A model that compares pictures with words.

    Attributes:
        scale: what a similarity is multiplied with before the softmax over names.
        colour: RGB that means "nothing" to the model, for padding and for what is masked out.
        exclusive: whether its words are a closed list, the synsets of ImageNet, and similarities
            are logarithms of their probabilities.
    """

    scale: float
    colour: tuple[int, int, int]
    exclusive: bool

    def embed_images(self, images: Sequence[Image]) -> Floats:
        """Return (N, D) embeddings; their product with those of texts is the similarity."""
        ...

    def embed_texts(self, words: Sequence[str]) -> Floats:
        """Return (W, D) embeddings of words or phrases, templates applied."""
        ...


@runtime_checkable
class PoolingImageText(ImageText, Protocol):
    """An image-text model that embeds regions of a picture without cutting them out."""

    def embed_regions(self, image: Image, masks: Masks) -> Floats:
        """Return (M, D) embeddings of (M, H, W) masks, from one look at the picture."""
        ...


class TextSegmenter(Protocol):
    """A segmenter that is asked in words."""

    def segment(self, image: Image, words: Sequence[str]) -> Floats:
        """Return (W, H, W') logits at the size of the picture, positive where the word fits."""
        ...


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A phrase for one region.

    Attributes:
        text: "" is a legal answer.
        score: mean log probability of a new token; nan if the model gives none.
        agreement: IoU of the model's own mask with the region; nan if it makes none.
    """

    text: str
    score: float = float("nan")
    agreement: float = float("nan")


class Captioner(Protocol):
    """A model that puts regions into words."""

    def caption(self, image: Image, masks: Masks) -> list[Caption]:
        """Return one caption for each of (M, H, W) masks, in order.

        Raises:
            InputError: a mask is empty.
        """
        ...
