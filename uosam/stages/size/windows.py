"""The last stage: redraw small objects in windows of their own, at the picture's own size.

A segmenter sees the whole picture in a square of some hundred pixels, so a small object of a large
picture is drawn on few cells. Cut out and enlarged it is drawn on many more. Crops of objects are
the local step of CascadePSP (Cheng et al., CVPR 2020) and of SAMRefiner (ICLR 2025).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError
from uosam.labels import box, components, iou, near_distance
from uosam.stages.merge import merge
from uosam.stages.prompts import PromptOptions, make_prompts
from uosam.stages.redraw import Redraws, decode_cascade, unite
from uosam.structures import IGNORE, Backend, Image, LabelMap, Mask

_DECODES = 2
_LEAST_PART = 0.1  # of an object: a component of its own, which a window may be laid around
_LEAST_SIDE = 96  # pixels of a window: what is enlarged further is blurred more than drawn
_LEAST_SHARE = 0.1  # of a window's side: what is smaller in it is drawn no better than before
_ROOM = 0.5  # of the margin, around the other objects that a window redraws as well


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """Which objects are redrawn in windows, and how far their shapes may change there.

    Attributes:
        most: windows of a picture at most, those of large objects first; each is encoded by
            itself, which takes about as long as the whole picture did. 0 leaves the stage out.
        enlargement: least factor by which a window shows its object larger than the picture, at
            least 1; objects that fill the picture are drawn no finer in a window.
        margin: around the box of the object, as a share of its longer side, at least 0.
        reach: how far from its outline a shape may change, as a share of the window's longer side.
        min_agreement: least IoU of the shapes before and after, in [0, 1].
    """

    most: int = 0
    enlargement: float = 1.2
    margin: float = 0.35
    reach: float = 0.05
    min_agreement: float = 0.7

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share lies outside [0, 1], or a number is too small.
        """
        for name in ("reach", "min_agreement"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"windows.{name} must be in [0, 1], got {getattr(self, name)}")
        for name, least in (("most", 0), ("enlargement", 1), ("margin", 0)):
            if not getattr(self, name) >= least:
                raise ConfigError(
                    f"windows.{name} must be at least {least}, got {getattr(self, name)}"
                )


@dataclass(frozen=True, eq=False, kw_only=True)
class Window:
    """A part of a picture and what is redrawn in it.

    Attributes:
        rows: of the picture.
        cols: of the picture.
        shown: (h, w) labels of what is redrawn, IGNORE elsewhere.
    """

    rows: slice
    cols: slice
    shown: LabelMap


@dataclass(frozen=True, eq=False, kw_only=True)
class _Piece:
    """A component of an object, and its box, x0, y0, x1, y1, inclusive."""

    label: int
    mask: Mask
    box: tuple[int, int, int, int]

    @property
    def side(self) -> int:
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1]) + 1


def refine_windows(
    image: Image,
    labels: LabelMap,
    redrawn: Collection[int],
    backend: Backend,
    options: WindowOptions,
    prompting: PromptOptions,
    *,
    min_region: float = 0.01,
    background: int | None = 0,
) -> LabelMap:
    """Redraw small objects in windows of the picture.

    Args:
        image: (H, W, 3) RGB at its own size.
        labels: (H, W) the map so far.
        redrawn: labels that may change, those that an earlier stage has redrawn.
        backend: to ask.
        options: of this stage.
        prompting: which prompts an object gets.
        min_region: as ``LocalRegionOptions``.
        background: id that is no object, or None.

    Returns:
        (H, W) labels. Outside the windows, and of objects that no window was laid around, all
        pixels stay, unless one that was redrawn takes them.
    """
    result = labels
    for window in choose_windows(labels, redrawn, options):
        here = result[window.rows, window.cols]
        embedding = backend.embed(np.ascontiguousarray(image[window.rows, window.cols]))
        # Sizes are those of the window now: what was large enough to be asked still is.
        prompts = make_prompts(
            window.shown, embedding, replace(prompting, min_area=0.0), background=None
        )
        chosen = decode_cascade(prompts, embedding, backend, steps=_DECODES, rule="score")
        redraws = unite(chosen, prompts.labels.tolist(), embedding, min_region)
        masks, accepted = _within_reach(redraws, window.shown, here, options)
        if accepted.any():
            merged = merge(
                here, replace(redraws, masks=masks), accepted, embedding, background, "logits"
            )
            result = result.copy() if result is labels else result
            result[window.rows, window.cols] = merged
    return result


def choose_windows(
    labels: LabelMap, redrawn: Collection[int], options: WindowOptions
) -> list[Window]:
    """Lay windows around small objects, large ones of them first, and find what else lies in each.

    Args:
        labels: (H, W).
        redrawn: labels to lay windows around.
        options: of this stage.
    """
    hw = labels.shape[0], labels.shape[1]
    left = _pieces(labels, redrawn) if options.most else []
    found: list[Window] = []
    while left and len(found) < options.most:
        first = left.pop(0)
        rows, cols = _around(first, hw, options.margin)
        side = max(rows.stop - rows.start, cols.stop - cols.start)
        if max(hw) < options.enlargement * side:
            continue
        inside = [first]
        for piece in left:
            large = piece.side >= _LEAST_SHARE * side
            if large and _fits(piece, rows, cols, hw, _ROOM * options.margin):
                inside.append(piece)
        left = [piece for piece in left if piece not in inside]
        shown = np.full((rows.stop - rows.start, cols.stop - cols.start), IGNORE, np.int32)
        for piece in inside:
            shown[piece.mask[rows, cols]] = piece.label
        found.append(Window(rows=rows, cols=cols, shown=shown))
    return found


def _pieces(labels: LabelMap, redrawn: Collection[int]) -> list[_Piece]:
    """List the components of some labels, longest box first."""
    pieces = []
    for label in sorted(redrawn):
        mask = labels == label
        least = max(1, round(_LEAST_PART * np.count_nonzero(mask)))
        for part in components(mask, least):
            x0, y0, x1, y1 = (int(side) for side in box(part))
            pieces.append(_Piece(label=label, mask=part, box=(x0, y0, x1, y1)))
    return sorted(pieces, key=lambda piece: -piece.side)


def _around(piece: _Piece, hw: tuple[int, int], margin: float) -> tuple[slice, slice]:
    """Lay a square around a box, as far as the picture goes; segmenters pad to one anyway."""
    x0, y0, x1, y1 = piece.box
    side = max(_LEAST_SIDE, round(piece.side * (1 + 2 * margin)))
    spans = []
    for low, high, size in ((y0, y1, hw[0]), (x0, x1, hw[1])):
        length = min(size, side)
        start = min(max(0, (low + high + 1 - length) // 2), size - length)
        spans.append(slice(start, start + length))
    return spans[0], spans[1]


def _fits(piece: _Piece, rows: slice, cols: slice, hw: tuple[int, int], margin: float) -> bool:
    """Tell whether a piece lies in a window with room around it, or up to the picture's frame."""
    x0, y0, x1, y1 = piece.box
    room = margin * piece.side
    return all(
        (span.start == 0 or low - room >= span.start)
        and (span.stop == size or high + room < span.stop)
        for low, high, span, size in ((y0, y1, rows, hw[0]), (x0, x1, cols, hw[1]))
    )


def _within_reach(
    redraws: Redraws, shown: LabelMap, here: LabelMap, options: WindowOptions
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Let shapes change near their outlines only, and tell which changed without losing theirs.

    Returns:
        (K, h, w) masks, with what else the window holds of their labels; (K,) whether they count.
    """
    masks = redraws.masks.copy()
    accepted = np.zeros(len(masks), bool)
    reach = max(1.0, options.reach * max(here.shape))
    for index, label in enumerate(redraws.labels.tolist()):
        before = shown == label
        distance = near_distance(before, reach)
        drawn = np.where(np.abs(distance) < reach, masks[index], before)
        accepted[index] = options.min_agreement <= iou(drawn, before) < 1
        masks[index] = drawn | ((here == label) & ~before)
    return masks, accepted
