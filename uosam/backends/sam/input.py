"""What enters the networks of a ``Sam``: the padded square, and prompts on its scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage

from uosam.backends.batching import Part, real_points
from uosam.structures import Embedding, Image, Prompts


@dataclass(frozen=True, eq=False, kw_only=True)
class SamInput:
    """Brings pictures and prompts to the scale of one ``Sam``.

    Attributes:
        sam: the network.
        device: where its inputs go.
    """

    sam: Any
    device: torch.device

    @property
    def side(self) -> int:
        """Pixels of a side of the network's square."""
        side: int = self.sam.image_encoder.img_size
        return side

    def hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Size of a picture whose long side fills the network's square; at least one pixel."""
        scale = self.side / max(image_hw)
        rows, cols = (max(1, int(side * scale + 0.5)) for side in image_hw)
        return rows, cols

    def square(self, image: Image) -> torch.Tensor:
        """Scale, normalise and pad a picture to (1, 3, side, side)."""
        rows, cols = self.hw((image.shape[0], image.shape[1]))
        # PIL's bilinear filter is what the published predictor resizes with.
        resized = PilImage.fromarray(image).resize((cols, rows), PilImage.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).to(self.device).permute(2, 0, 1)[None]
        square: torch.Tensor = self.sam.preprocess(pixels)
        return square

    def prompts(self, parts: Sequence[Part]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode rows with the same kinds of prompts, one part after the other.

        Returns:
            (B, n, C) points and corners of boxes; (B, C, h, w) masks, or what stands for them in
            rows of several pictures that have none; None for one picture without any.
        """
        encoded = [self._encode(*part) for part in parts]
        sparse = _joined([points for points, _ in encoded])
        if parts[0].prompts.logits is None and len(parts) == 1:
            return sparse, None
        return sparse, _joined([masks for _, masks in encoded])

    def _encode(
        self, embedding: Embedding, prompts: Prompts, rows: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = self.sam.prompt_encoder
        masks = None if prompts.logits is None else self._tensor(prompts.logits[rows])[:, None]
        sparse, dense = encoder(
            points=self._points(prompts, rows, embedding.image_hw),
            boxes=self._boxes(prompts, rows, embedding.image_hw),
            masks=masks,
        )
        if prompts.asks_whole:
            assert prompts.whole is not None  # as it asks
            asks = self._tensor(prompts.whole[rows])
            dense = dense + asks[:, None, None, None] * encoder.whole.weight[:, :, None, None]
        return sparse, dense

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(array, dtype=torch.float32).to(self.device)

    def _scale_xy(self, xy: NDArray[Any], image_hw: tuple[int, int]) -> torch.Tensor:
        """Bring (..., 2) pixels of the picture to pixels of the network's square."""
        rows, cols = self.hw(image_hw)
        # In float64, as the published predictor does, so that answers agree to the last bit.
        return self._tensor(xy.astype(np.float64) * (cols / image_hw[1], rows / image_hw[0]))

    def _points(
        self, prompts: Prompts, rows: NDArray[np.int64], image_hw: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Real points (b, n, 2) and labels (b, n) of some rows; None if they have none."""
        real = real_points(prompts, rows)
        if real is None:
            return None
        points, labels = real
        return self._scale_xy(points, image_hw), self._tensor(labels)

    def _boxes(
        self, prompts: Prompts, rows: NDArray[np.int64], image_hw: tuple[int, int]
    ) -> torch.Tensor | None:
        if prompts.boxes is None:
            return None
        return self._scale_xy(prompts.boxes[rows].reshape(-1, 2, 2), image_hw).reshape(-1, 4)


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenate, without a copy of a single one."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
