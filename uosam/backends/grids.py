"""Masks known by their logits, made at the size of the picture one by one, when somebody asks.

Of the masks that a segmenter answers with, few are ever looked at: the others lose by their score,
their shape on the logit grid or their overlap with a better one. On an accelerator logits stay
where they are, too, and bits of them are what is compared: an eighth of a byte a cell, not four.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from uosam.backends.device import on_host
from uosam.demand import HeldMask, Later, PackedMask
from uosam.structures import Floats, Mask, Masks

_AT_A_TIME = 16  # masks brought to a 1024 x 1024 square: 64 MiB of float32
_REACH = 2  # cells around that of a pixel on which it may depend: one, and one for rounding
_PIXELS = 2**14  # of which labels are counted at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class Enlargement:
    """How masks of one picture are brought to its size.

    Attributes:
        enlarge: (k, 1, 4h, 4w) logits to (k, 1, H, W); a pixel lies between the values of the cells
            next to it.
        covered: fractions of the grid's rows and columns that the picture covers.
        image_hw: size of the picture.
    """

    enlarge: Callable[[torch.Tensor], torch.Tensor]
    covered: tuple[float, float]
    image_hw: tuple[int, int]

    @torch.inference_mode()
    def masks(self, logits: torch.Tensor) -> torch.Tensor:
        """Cut (M, 4h, 4w) logits to (M, H, W) masks, some at a time, where they lie."""
        masks = torch.empty((len(logits), *self.image_hw), dtype=torch.bool, device=logits.device)
        for start in range(0, len(logits), _AT_A_TIME):
            part = slice(start, start + _AT_A_TIME)
            masks[part] = self.enlarge(logits[part, None])[:, 0] > 0
        return masks

    def pixels(self, grid_hw: tuple[int, int]) -> tuple[Floats, Floats]:
        """Count the rows and the columns of the picture whose middle lies in each of the grid."""
        found = []
        for size, cells, share in zip(self.image_hw, grid_hw, self.covered, strict=True):
            middle = (np.arange(size) + 0.5) / size * share * cells
            found.append(np.bincount(middle.astype(int).clip(0, cells - 1), minlength=cells))
        return found[0].astype(np.float32), found[1].astype(np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class GridMasks:
    """M masks that are made from their logits.

    Attributes:
        logits: (M, 4h, 4w) float32.
        how: they are enlarged.
    """

    logits: torch.Tensor
    how: Enlargement
    _last: dict[int, Mask] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, index: int) -> Mask:
        """Make one (H, W) mask; the last one is remembered."""
        if index not in self._last:
            self._last.clear()
            self._last[index] = self.how.masks(self.logits[index][None])[0].cpu().numpy()
        return self._last[index]

    def whole(self) -> Masks:
        """Make all, (M, H, W)."""
        masks: Masks = self.how.masks(self.logits).cpu().numpy()
        return masks

    @torch.inference_mode()
    def have(self, pixels: int) -> NDArray[np.bool_]:
        """Tell which masks have at least so many pixels, (M,).

        A pixel whose cell has only positive cells around it is in the mask, one with none of them
        is not. Where that does not decide, the mask is made and counted.
        """
        by_row, by_column = self.how.pixels((self.logits.shape[1], self.logits.shape[2]))
        sure, possible = self._bounds(by_row, by_column)
        enough = sure >= pixels
        for index in np.flatnonzero(~enough & (possible >= pixels)).tolist():
            enough[index] = int(self._count(index)) >= pixels
        return enough

    def _bounds(self, by_row: Floats, by_column: Floats) -> tuple[Floats, Floats]:
        """Return (M,) how many pixels masks have at least and at most."""
        if on_host(self.logits):
            kernel = np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)
            bounds = np.zeros((len(self.logits), 2), np.float32)
            for index, logits in enumerate(self.logits.numpy()):
                cells = (logits > 0).astype(np.uint8)
                # Beyond the edge of the grid nothing is asked of a cell.
                for side, change in enumerate((cv2.erode, cv2.dilate)):
                    bounds[index, side] = by_row @ change(cells, kernel) @ by_column
            return bounds[:, 0], bounds[:, 1]
        cells = (self.logits > 0).float()
        rows, columns = (
            torch.from_numpy(count).to(self.logits.device) for count in (by_row, by_column)
        )
        size = (2 * _REACH + 1, 1, _REACH)
        sure, possible = 1 - F.max_pool2d(1 - cells, *size), F.max_pool2d(cells, *size)
        # Sums, for products of matrices may round to TF32.
        both = ((torch.stack([sure, possible]) * columns).sum(-1) * rows).sum(-1)
        least, most = both.cpu().numpy()
        return least, most

    def _count(self, index: int) -> int:
        if on_host(self.logits):
            return int(np.count_nonzero(self[index]))
        return int(self.how.masks(self.logits[index][None]).sum())

    def hold(self, index: int) -> HeldMask:
        """Keep one mask: its bits on a CPU, its logits on an accelerator."""
        if on_host(self.logits):
            return PackedMask.of(self[index])
        return HeldLogits(logits=self.logits[index].clone(), how=self.how)

    @staticmethod
    def joined(parts: Sequence[GridMasks], order: NDArray[np.int64]) -> GridMasks:
        """Put masks of one picture together in a given order."""
        logits = torch.cat([part.logits for part in parts])
        return GridMasks(logits=logits[torch.from_numpy(order).to(logits.device)], how=parts[0].how)


@dataclass(frozen=True, eq=False, kw_only=True)
class GridLogits:
    """(M, 4h, 4w) logits on an accelerator.

    Attributes:
        logits: float32.
    """

    logits: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, 4h, 4w)."""
        return tuple(self.logits.shape)

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, index: int) -> Floats:
        """Fetch those of one mask."""
        found: Floats = self.logits[index].cpu().numpy()
        return found

    def whole(self) -> Floats:
        """Fetch all."""
        found: Floats = self.logits.cpu().numpy()
        return found

    @torch.inference_mode()
    def cut(self, limit: float) -> NDArray[np.uint8]:
        """Return (M, n) bits where logits exceed a limit, as ``numpy.packbits`` packs them."""
        cells = (self.logits > limit).flatten(1)
        count = -(-cells.shape[1] // 8)
        cells = F.pad(cells, (0, 8 * count - cells.shape[1])).view(len(cells), count, 8)
        places = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], device=cells.device)
        found: NDArray[np.uint8] = (cells * places).sum(-1).to(torch.uint8).cpu().numpy()
        return found


@dataclass(frozen=True, eq=False, kw_only=True)
class HeldLogits:
    """A mask on an accelerator that is not made yet.

    Attributes:
        logits: (4h, 4w).
        how: they are enlarged.
    """

    logits: torch.Tensor
    how: Enlargement

    def together(self, held: Sequence[HeldLogits], /) -> DeviceMasks:
        """Make masks where they lie."""
        return DeviceMasks(masks=self.how.masks(torch.stack([one.logits for one in held])))


@dataclass(frozen=True, eq=False, kw_only=True)
class DeviceMasks:
    """Masks on an accelerator.

    Attributes:
        masks: (M, H, W) of truth values.
    """

    masks: torch.Tensor

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int, /) -> Mask:
        """Fetch one."""
        mask: Mask = self.masks[index].cpu().numpy()
        return mask

    def whole(self) -> Masks:
        """Fetch all."""
        masks: Masks = self.masks.cpu().numpy()
        return masks

    def areas(self) -> NDArray[np.int64]:
        """Count the pixels of each, (M,)."""
        areas: NDArray[np.int64] = self.masks.sum((-1, -2)).cpu().numpy()
        return areas

    @torch.inference_mode()
    def votes(self, labels: NDArray[np.int32]) -> NDArray[np.int64]:
        """Count labels in each mask, (M, L); negative ones are not counted."""
        present = np.unique(labels[labels >= 0])
        counts = np.zeros((len(self), int(present.max(initial=-1)) + 1), np.int64)
        if not len(present):
            return counts
        flat = self.masks.flatten(1)
        where = torch.from_numpy(labels.ravel()).to(flat.device)
        asked = torch.from_numpy(present).to(flat.device)
        # Sums of ones are exact in float32, with TF32 as well.
        found = torch.zeros((len(self), len(present)), device=flat.device)
        for start in range(0, flat.shape[1], _PIXELS):
            some = slice(start, start + _PIXELS)
            found += flat[:, some].float() @ (where[some, None] == asked).float()
        counts[:, present] = found.cpu().numpy()
        return counts


def logits_of(tensor: torch.Tensor) -> Any:
    """Return logits as a field of ``Proposals``: an array on a CPU, where they are that already."""
    return tensor.numpy() if on_host(tensor) else GridLogits(logits=tensor)


def fetched(features: torch.Tensor) -> Any:
    """Return (C, h, w) features as a field of ``Embedding``, fetched when they are asked for."""
    return Later(lambda: features.float().cpu().numpy(), tuple(features.shape))
