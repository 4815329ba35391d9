"""The SAMs of the transformers package, behind the two-method seam.

SAM, SAM-HQ, SAM 2, the tracker of SAM 3, which answers points, boxes and masks, and EdgeTAM.

The checkpoint is a local folder as ``save_pretrained`` writes it; nothing is downloaded. Kirillov
et al., "Segment Anything", 2023; Ke et al., "Segment Anything in High Quality", 2023; Ravi et al.,
"SAM 2: Segment Anything in Images and Videos", 2024; Carion et al., "SAM 3: Segment Anything with
Concepts", 2025; Zhou et al., "EdgeTAM: On-Device Track Anything Model", 2025. The networks and
their preparation of pictures are the package's own; an embedding as a value, batches and early
filtering are added.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from torchvision.transforms.v2.functional import resize

from uosam.backends import BackendOptions
from uosam.backends.batching import decode_in_batches, keep, real_points
from uosam.backends.checks import (
    check_image,
    check_levels,
    check_mask_prompts,
    check_state,
    check_whole,
)
from uosam.backends.device import choose_device, out_of_memory, set_tf32, too_large
from uosam.backends.grids import Enlargement, fetched
from uosam.backends.hf.files import Family, find_folder, load_network
from uosam.structures import Embedding, Image, Prompts, Proposals

log = logging.getLogger(__name__)

_ANSWERS = 3
"""Masks that a prompt gets: of the whole, an object and a part."""


def load(options: BackendOptions) -> HfBackend:
    """Load the network in the folder ``options.checkpoint``; what it lacks is told once.

    Raises:
        BackendError: transformers is not installed, or the folder is missing, damaged or of
            another kind of network, or the device is not there.
    """
    folder, family = find_folder(options.checkpoint)
    network = load_network(folder, family)
    answers = network.config.mask_decoder_config.num_multimask_outputs
    if answers < _ANSWERS:
        log.warning(
            "%s answers a prompt with %d mask(s) where others give %d: less to choose from",
            folder,
            answers,
            _ANSWERS,
        )
    device = choose_device(options.device)
    set_tf32(device, options.tf32)
    return HfBackend(
        network=network.to(device).eval().requires_grad_(False),
        family=family,
        device=device,
        autocast=options.precision == "bfloat16",
        batch_size=options.batch_size,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class HfBackend:
    """A promptable segmenter over a network of transformers.

    Attributes:
        network: ``Family.network``, in evaluation mode, float32.
        family: which of them it is.
        device: where it computes.
        autocast: run image encoder and mask decoder in bfloat16; the prompt encoder stays in
            float32, for the sines of its coordinates need more than 8 bits.
        batch_size: prompts decoded at a time at most.
    """

    network: Any
    family: Family
    device: torch.device
    autocast: bool = False
    batch_size: int = 64

    @torch.inference_mode()
    def embed(self, image: Image) -> Embedding:
        """Encode one picture: SAM and SAM-HQ pad it to a square, SAM 2 stretches it.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            features (C, h, w) float32 of the coarsest level; a stretched picture covers the grid.

        Raises:
            InputError: the array is not (H, W, 3) uint8 or has no pixels.
            BackendError: the device has not enough memory for one picture.
        """
        check_image(image)
        hw = (image.shape[0], image.shape[1])
        rows, cols = self._input_hw(hw)
        pixels = torch.from_numpy(image.transpose(2, 0, 1).copy()).to(self.device)
        resized = resize(pixels, [rows, cols], antialias=True).float() / 255
        mean, std = (
            torch.tensor(values, device=self.device).view(3, 1, 1)
            for values in (self.family.mean, self.family.std)
        )
        square = F.pad((resized - mean) / std, (0, self._side - cols, 0, self._side - rows))
        try:
            with self._precision():
                found = self.network.get_image_embeddings(square[None])
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise too_large(self.device, 1) from error
        state = self.family.arrange(found)
        features = state.features[0]
        _, h, w = features.shape
        return Embedding(
            features=fetched(features),
            extent=(rows * h / self._side, cols * w / self._side),
            image_hw=hw,
            state=state,
        )

    @torch.inference_mode()
    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        *,
        multimask: bool = True,
        min_score: float = 0.0,
        min_stability: float = 0.0,
    ) -> Proposals:
        """Answer every row of prompts, many rows at a time.

        Rows are put together with rows of as many real points, and padding is taken off. A batch
        that does not fit into memory is halved.

        Args:
            embedding: from ``embed`` of this backend.
            prompts: each row has at least one point, a box or a mask.
            multimask: three masks a row (SAM-HQ: in falling order of score), or the single one,
                which SAM 2 takes from the three where its own is unstable.
            min_score: drop masks whose estimated IoU, clipped to [0, 1], is below this.
            min_stability: drop masks whose stability score, on the logit grid, is below this.

        Returns:
            masks in order of row, then of the network's output; a row may have lost all of them.

        Raises:
            InputError: the embedding is of another backend, mask prompts do not have the size of
                the logit grid, a row asks nothing, or for levels of granularity.
            BackendError: the device has not enough memory for one prompt, or a row asks for the
                whole object.
        """
        check_state(embedding, self.family.state, self.family.title)
        check_mask_prompts(prompts, embedding)
        check_levels(prompts, f"hf ({self.family.title})", 0)
        check_whole(prompts, f"hf ({self.family.title})", answers=False)
        return decode_in_batches(
            lambda rows: self._decode_rows(
                embedding, prompts, rows, multimask, min_score, min_stability
            ),
            prompts,
            embedding,
            self.batch_size,
        )

    def _decode_rows(
        self,
        embedding: Embedding,
        prompts: Prompts,
        rows: NDArray[np.int64],
        multimask: bool,
        min_score: float,
        min_stability: float,
    ) -> Proposals:
        """Decode rows that have the same number of real points: a batch of one prompt each."""
        hw = embedding.image_hw
        points, boxes, masks = self._questions(prompts, rows, hw)
        sparse, dense = self.network.prompt_encoder(*(points or (None, None)), boxes, masks)
        with self._precision():
            logits, scores = self.family.decode(
                self.network, embedding.state, sparse, dense, len(rows), multimask
            )
        input_hw = self._input_hw(hw)
        # One prompt for each item of the batch, hence the second axis of 1.
        how = Enlargement(
            enlarge=lambda some: self._enlarge(some, hw),
            covered=(input_hw[0] / self._side, input_hw[1] / self._side),
            image_hw=hw,
        )
        return keep(
            logits[:, 0],
            scores[:, 0],
            rows,
            how,
            min_score=min_score,
            min_stability=min_stability,
        )

    def _questions(
        self, prompts: Prompts, rows: NDArray[np.int64], hw: tuple[int, int]
    ) -> tuple[tuple[torch.Tensor, torch.Tensor] | None, torch.Tensor | None, torch.Tensor | None]:
        """Return points (b, 1, n, 2) and labels, boxes (b, 1, 4), masks (b, 1, 4h, 4w) of rows."""
        real = real_points(prompts, rows)
        points = boxes = masks = None
        if real is not None:
            labels = torch.as_tensor(real[1], dtype=torch.int32).to(self.device)
            points = self._scale_xy(real[0], hw)[:, None], labels[:, None]
        if prompts.boxes is not None:
            corners = prompts.boxes[rows].reshape(-1, 2, 2)
            boxes = self._scale_xy(corners, hw).reshape(-1, 1, 4)
        if prompts.logits is not None:
            masks = torch.as_tensor(prompts.logits[rows]).to(self.device)[:, None]
        if points is None and boxes is None and self.family.wants_point:
            # A point of label -1 says "none", as the network's own forward does.
            nowhere = torch.zeros(len(rows), 1, 1, 2, device=self.device)
            points = nowhere, torch.full(nowhere.shape[:3], -1, device=self.device)
        return points, boxes, masks

    def _enlarge(self, logits: torch.Tensor, hw: tuple[int, int]) -> torch.Tensor:
        """Bring (m, 1, 4h, 4w) logits to the size of the picture."""
        if self.family.pads:
            side, (rows, cols) = self._side, self._input_hw(hw)
            square = F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
            logits = square[..., :rows, :cols]
        return F.interpolate(logits, hw, mode="bilinear", align_corners=False)

    @property
    def _side(self) -> int:
        side: int = self.network.config.prompt_encoder_config.image_size
        return side

    def _input_hw(self, hw: tuple[int, int]) -> tuple[int, int]:
        """Size at which a picture enters the network's square; at least one pixel."""
        if not self.family.pads:
            return self._side, self._side
        scale = self._side / max(hw)
        rows, cols = (max(1, int(side * scale + 0.5)) for side in hw)
        return rows, cols

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast)

    def _scale_xy(self, xy: NDArray[Any], hw: tuple[int, int]) -> torch.Tensor:
        """Bring (..., 2) pixels of the picture to pixels of the network's square."""
        rows, cols = self._input_hw(hw)
        scaled = xy.astype(np.float64) * (cols / hw[1], rows / hw[0])
        return torch.as_tensor(scaled, dtype=torch.float32).to(self.device)
