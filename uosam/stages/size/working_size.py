"""The size at which large pictures are refined, and the way back to their own.

Segmenters answer on a grid of a few hundred cells a side, whatever the picture's size. So the
stages look at a large picture reduced, and only what they changed is enlarged into the map that
came in; everything else keeps its pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError
from uosam.labels import areas
from uosam.structures import IGNORE, Decision, Floats, Guide, Image, LabelMap, Prompts

_TILE = 1024  # pixels a side that are enlarged at a time, so that memory does not grow with classes
_MARGIN = 2  # cells around a tile that its bilinear enlargement looks at


@dataclass(frozen=True, kw_only=True)
class WorkingSizeOptions:
    """The size at which large pictures are refined.

    Attributes:
        longest: pixels of the long side beyond which the stages see the picture reduced to it; 0
            works at the picture's own size, at a cost that grows with pixels times objects.
    """

    longest: int = 1024  # what SAM itself reduces a picture to

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: ``longest`` is neither 0 nor at least 256, the logits' own size.
        """
        if self.longest and self.longest < 256:
            raise ConfigError(
                f"working_size.longest must be 0 (the picture's own size) or at least 256, got "
                f"{self.longest}"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class WorkingSize:
    """A picture and its coarse map at the size at which the stages work.

    Attributes:
        image: (h, w, 3) RGB, reduced by averaging where the picture is large.
        coarse: (h, w) labels, the nearest pixel of each cell.
        guide: the guide at the same size, or None.
        full: (H, W) the coarse map that came in.
    """

    image: Image
    coarse: LabelMap
    guide: Guide | None
    full: LabelMap

    @property
    def reduced(self) -> bool:
        """Whether the picture was larger than the working size."""
        return self.coarse.shape != self.full.shape

    def restore_labels(self, refined: LabelMap) -> LabelMap:
        """Enlarge what differs from the coarse map into the map that came in.

        Args:
            refined: (h, w) labels that the stages made of ``coarse``.

        Returns:
            (H, W) labels: the map that came in, and where a cell or one beside it changed, the
            label that is strongest after bilinear enlargement. IGNORE stays where it was.
        """
        if not self.reduced:
            return refined
        changed = refined != self.coarse
        result = self.full.copy()
        if not changed.any():
            return result
        touched = cv2.dilate(changed.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        for rows, cols in _tiles(self.full.shape):
            ys, xs = self._cells(rows, 0), self._cells(cols, 1)
            window = np.ix_(ys, xs)
            if not touched[window].any():
                continue
            target = result[rows, cols]
            winner = self._strongest(refined, (rows, cols), (ys, xs))
            here = touched[window] & (winner != IGNORE) & (target != IGNORE)
            target[here] = winner[here]
        return result

    def restore_field(self, field: Floats) -> Floats:
        """Enlarge a field such as the confidence bilinearly, 0 where the map is IGNORE."""
        if not self.reduced:
            return field
        height, width = self.full.shape
        enlarged = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
        enlarged[self.full == IGNORE] = 0
        return np.asarray(enlarged, np.float32)

    def restore_prompts(self, prompts: Prompts) -> Prompts:
        """Bring points and boxes to pixels of the picture; the regions asked about are left out."""
        if not self.reduced:
            return prompts
        height, width = self.full.shape
        scale = np.array([width / self.coarse.shape[1], height / self.coarse.shape[0]], np.float32)
        boxes = prompts.boxes
        if boxes is not None:
            # Corners are pixels and inclusive: the first pixel of one cell, the last of the other.
            boxes = np.concatenate([boxes[:, :2] * scale, (boxes[:, 2:] + 1) * scale - 1], axis=1)
        points = (prompts.points + 0.5) * scale - 0.5
        return replace(prompts, points=points, boxes=boxes, asked=None)

    def restore_decisions(self, decisions: list[Decision]) -> tuple[Decision, ...]:
        """Count areas in pixels of the map that came in."""
        if not self.reduced:
            return tuple(decisions)
        sizes = areas(self.full)
        return tuple(replace(one, area=sizes.get(one.label, one.area)) for one in decisions)

    def _cells(self, pixels: slice, axis: int) -> NDArray[np.intp]:
        """Return the cell that each pixel of a tile lies in, along one axis."""
        full, cells = self.full.shape[axis], self.coarse.shape[axis]
        return _nearest(cells, full, np.arange(pixels.start, pixels.stop))

    def _strongest(
        self,
        refined: LabelMap,
        tile: tuple[slice, slice],
        cells: tuple[NDArray[np.intp], NDArray[np.intp]],
    ) -> LabelMap:
        """Enlarge every label's cells to a tile and take the highest at each pixel."""
        (rows, cols), (ys, xs) = tile, cells
        top, left = max(0, ys[0] - _MARGIN), max(0, xs[0] - _MARGIN)
        window = refined[top : ys[-1] + 1 + _MARGIN, left : xs[-1] + 1 + _MARGIN]
        step_y = refined.shape[0] / self.full.shape[0]
        step_x = refined.shape[1] / self.full.shape[1]
        to_cells = np.array(
            [
                [step_x, 0, (cols.start + 0.5) * step_x - 0.5 - left],
                [0, step_y, (rows.start + 0.5) * step_y - 0.5 - top],
            ]
        )
        winner = np.full((len(ys), len(xs)), IGNORE, np.int32)
        highest = np.zeros(winner.shape, np.float32)
        for label in np.unique(window).tolist():
            share = cv2.warpAffine(
                (window == label).astype(np.float32),
                to_cells,
                (len(xs), len(ys)),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            higher = share > highest
            winner[higher] = label
            highest[higher] = share[higher]
        return winner


def at_working_size(
    image: Image, coarse: LabelMap, guide: Guide | None, options: WorkingSizeOptions
) -> WorkingSize:
    """Reduce a picture, its map and its guide if the picture is large.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels.
        guide: of the same size, or None.
        options: how large is large.
    """
    height, width = coarse.shape
    longest = options.longest
    if not longest or max(height, width) <= longest:
        return WorkingSize(image=image, coarse=coarse, guide=guide, full=coarse)
    scale = longest / max(height, width)
    rows, cols = max(1, round(height * scale)), max(1, round(width * scale))
    nearest = np.ix_(
        _nearest(height, rows, np.arange(rows)), _nearest(width, cols, np.arange(cols))
    )
    if guide is not None:
        guide = Guide(
            image=_averaged(guide.image, rows, cols),
            holes=None if guide.holes is None else guide.holes[nearest],
        )
    return WorkingSize(
        image=_averaged(image, rows, cols), coarse=coarse[nearest], guide=guide, full=coarse
    )


def _averaged(image: Image, rows: int, cols: int) -> Image:
    return np.asarray(cv2.resize(image, (cols, rows), interpolation=cv2.INTER_AREA), np.uint8)


def _nearest(size: int, of: int, indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Map indices of an axis of ``of`` places to those of one of ``size``, centre to centre."""
    return np.minimum(((indices + 0.5) * size / of).astype(np.intp), size - 1)


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    for top in range(0, shape[0], _TILE):
        for left in range(0, shape[1], _TILE):
            yield (
                slice(top, min(top + _TILE, shape[0])),
                slice(left, min(left + _TILE, shape[1])),
            )
