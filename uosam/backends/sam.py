"""The Segment Anything models behind the two-method seam.

One class serves every encoder, for all of them are a ``segment_anything.modeling.Sam``: an image
encoder, the prompt encoder and the two-way mask decoder of Kirillov et al., "Segment Anything",
2023 (sections 3 and A). The networks are the segment-anything package's own; what is added here is
that an embedding is a value, that prompts of many objects are decoded together, that the decoder
takes fewer steps to the same result, and that hopeless masks are dropped before they are enlarged.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from segment_anything.build_sam import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l

from uosam.backends import BackendOptions
from uosam.backends.absorbed import AbsorbedDecoder
from uosam.backends.absorbed_cells import Picture
from uosam.backends.batching import (
    check_image,
    check_mask_prompts,
    decode_in_batches,
    enlarge_padded,
    keep_and_enlarge,
    real_points,
)
from uosam.backends.checkpoints import find_checkpoint, load_weights, read_state_dict
from uosam.backends.device import choose_device, out_of_memory
from uosam.backends.encoders import speed_up
from uosam.backends.tiny import build_sam_tiny
from uosam.backends.tiny_vit import build_sam_vit_t
from uosam.errors import BackendError, InputError, unknown
from uosam.structures import Embedding, Image, Prompts, Proposals

_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)

BUILDERS: dict[str, Callable[[], Any]] = {
    "tiny": build_sam_tiny,
    "vit_t": build_sam_vit_t,
    "vit_b": build_sam_vit_b,
    "vit_l": build_sam_vit_l,
    "vit_h": build_sam_vit_h,
}


def load(options: BackendOptions) -> SamBackend:
    """Build the SAM that ``options.name`` says and fill it from its weights file.

    Raises:
        ConfigError: the name is not a SAM model.
        BackendError: the file is missing, damaged or of another model, the device is not there, or
            there is no compiler where ``options.compile`` asks for one.
    """
    if options.name not in BUILDERS:
        raise unknown("SAM model", options.name, BUILDERS)
    path = find_checkpoint(options.name, options.checkpoint)
    device = choose_device(options.device)
    with torch.device("meta"):
        sam = BUILDERS[options.name]()
    load_weights(sam, read_state_dict(path, options.name), path, options.name)
    # The only tensors that are not in a file; on the meta device they have no values yet.
    sam.pixel_mean = torch.tensor(_PIXEL_MEAN).view(-1, 1, 1)
    sam.pixel_std = torch.tensor(_PIXEL_STD).view(-1, 1, 1)
    sam.to(device).eval()
    speed_up(sam.image_encoder, device, compiled=options.compile)
    return SamBackend(
        sam=sam,
        device=device,
        autocast=options.precision == "bfloat16",
        batch_size=options.batch_size,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class SamBackend:
    """A promptable segmenter over one ``Sam`` network.

    Attributes:
        sam: the network, in evaluation mode, on ``device``, with float32 weights.
        device: where it computes.
        autocast: run image encoder and mask decoder in bfloat16; the prompt encoder stays in
            float32, for the sines of its coordinates need more than 8 bits.
        batch_size: prompts decoded at a time at most.
    """

    sam: Any
    device: torch.device
    autocast: bool = False
    batch_size: int = 64

    @torch.inference_mode()
    def embed(self, image: Image) -> Embedding:
        """Encode one picture, scaled so that its long side fills the network's square.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            features (256, 64, 64) float32; the picture covers the upper left part of the grid.

        Raises:
            InputError: the array is not (H, W, 3) uint8 or has no pixels.
            BackendError: the device has not enough memory for one picture.
        """
        check_image(image)
        hw = (image.shape[0], image.shape[1])
        rows, cols = self._input_hw(hw)
        # PIL's bilinear filter is what the published predictor resizes with.
        resized = PilImage.fromarray(image).resize((cols, rows), PilImage.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).to(self.device).permute(2, 0, 1)[None]
        try:
            with self._precision():
                # Padding takes the channels out of their place, where convolutions want them.
                square = self.sam.preprocess(pixels).contiguous(memory_format=torch.channels_last)
                tensor = self.sam.image_encoder(square).float()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise BackendError(
                f"not enough memory on {self.device} to encode one picture; use a smaller model, "
                "-s backend.precision=bfloat16, or --device cpu"
            ) from error
        stride = self._side // tensor.shape[-1]
        return Embedding(
            features=tensor[0].cpu().numpy(),
            extent=(rows / stride, cols / stride),
            image_hw=hw,
            state=self._decoder.prepare(tensor),
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

        Rows are put together with rows of as many real points, and padding is taken off: SAM has
        no way to mask a padding point, so that it would change the answer. A batch that does not
        fit into memory is halved.

        Args:
            embedding: from ``embed`` of this backend.
            prompts: each row has at least one point, a box or a mask.
            multimask: three masks a row (SAM's outputs 1 to 3) or its single output 0.
            min_score: drop masks whose estimated IoU, clipped to [0, 1], is below this.
            min_stability: drop masks whose stability score, on the logit grid, is below this.

        Returns:
            masks in order of row, then of SAM's output; a row may have lost all of its masks.

        Raises:
            InputError: the embedding is of another backend, mask prompts do not have the size of
                the logit grid, or a row asks nothing.
            BackendError: the device has not enough memory for one prompt.
        """
        if not isinstance(embedding.state, Picture):
            raise InputError(
                f"decode needs an embedding made by embed of a SAM backend, got one with state "
                f"{type(embedding.state).__name__}; embed the picture with this backend first"
            )
        check_mask_prompts(prompts, embedding)
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
        """Decode rows that have the same number of real points, in one batch."""
        sparse, dense = self.sam.prompt_encoder(
            points=self._points(prompts, rows, embedding.image_hw),
            boxes=self._boxes(prompts, rows, embedding.image_hw),
            masks=None if prompts.logits is None else self._tensor(prompts.logits[rows])[:, None],
        )
        logits, scores, left = self._decoder.decode(
            embedding.state,
            sparse,
            None if prompts.logits is None else dense,
            multimask=multimask,
            min_score=min_score,
        )
        input_hw = self._input_hw(embedding.image_hw)
        return keep_and_enlarge(
            logits,
            scores,
            rows[left.cpu().numpy()],
            lambda some: enlarge_padded(some, self._side, input_hw, embedding.image_hw),
            covered=(input_hw[0] / self._side, input_hw[1] / self._side),
            image_hw=embedding.image_hw,
            min_score=min_score,
            min_stability=min_stability,
        )

    @cached_property
    def _decoder(self) -> AbsorbedDecoder:
        return AbsorbedDecoder(self.sam, torch.bfloat16 if self.autocast else torch.float32)

    @property
    def _side(self) -> int:
        side: int = self.sam.image_encoder.img_size
        return side

    def _input_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Size of a picture whose long side fills the network's square; at least one pixel."""
        scale = self._side / max(image_hw)
        rows, cols = (max(1, int(side * scale + 0.5)) for side in image_hw)
        return rows, cols

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast)

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(array, dtype=torch.float32).to(self.device)

    def _scale_xy(self, xy: NDArray[Any], image_hw: tuple[int, int]) -> torch.Tensor:
        """Bring (..., 2) pixels of the picture to pixels of the network's square."""
        rows, cols = self._input_hw(image_hw)
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
