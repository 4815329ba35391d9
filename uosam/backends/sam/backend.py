"""The Segment Anything models behind the two-method seam.

One class serves every encoder, for all of them are a ``segment_anything.modeling.Sam``: an image
encoder, the prompt encoder and the two-way mask decoder of Kirillov et al., "Segment Anything",
2023 (sections 3 and A). The networks are the segment-anything package's own; what is added here is
that an embedding is a value, that prompts of many objects are decoded together and in fewer steps,
and that hopeless masks are dropped before they are enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from uosam.backends import BackendOptions, checks
from uosam.backends.batching import (
    FEW,
    Part,
    by_area,
    decode_across,
    decode_in_batches,
    enlarge_padded,
    keep,
)
from uosam.backends.device import choose_device, out_of_memory, set_tf32, too_large
from uosam.backends.grids import Enlargement, fetched
from uosam.backends.models import MODELS
from uosam.backends.sam.absorbed import AbsorbedDecoder
from uosam.backends.sam.absorbed_cells import Picture
from uosam.backends.sam.builders import BUILDERS, POINT_LIMITS, normalise
from uosam.backends.sam.encoders import speed_up
from uosam.backends.sam.input import SamInput
from uosam.backends.weights.checkpoints import find_checkpoint, load_weights, read_state_dict
from uosam.errors import unknown
from uosam.stages.judging.judge import Judge, packaged_judge
from uosam.stages.proposals import SAM_LIMITS
from uosam.structures import Embedding, Image, Prompts, Proposals


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
    set_tf32(device, options.tf32)
    with torch.device("meta"):
        sam = BUILDERS[options.name]()
    load_weights(sam, read_state_dict(path, options.name), path, options.name)
    normalise(sam, options.name)
    sam.to(device).eval()
    speed_up(sam.image_encoder, device, compiled=options.compile)
    return SamBackend(
        sam=sam,
        device=device,
        autocast=options.precision == "bfloat16",
        batch_size=options.batch_size,
        name=options.name,
        judge=packaged_judge("uosam.backends.sam") if options.name == "tiny" else None,
        point_limits=POINT_LIMITS.get(options.name, SAM_LIMITS),
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
        name: key of ``BUILDERS``.
        judge: what chooses among its answers; None if none was fitted for its weights.
        point_limits: least score and stability of an answer to a lone point, to be a proposal.
    """

    sam: Any
    device: torch.device
    autocast: bool = False
    batch_size: int = 64
    name: str = "SAM"
    judge: Judge | None = None
    point_limits: tuple[float, float] = SAM_LIMITS

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
        return self.embed_several([image])[0]

    @torch.inference_mode()
    def embed_several(self, images: Sequence[Image]) -> list[Embedding]:
        """Encode pictures of any sizes in one batch.

        Args:
            images: (H, W, 3) uint8 RGB each, at least one.

        Raises:
            InputError: as ``embed``.
            BackendError: the device has not enough memory for all of them.
        """
        for image in images:
            checks.check_image(image)
        try:
            with self._precision():
                # Padding takes the channels out of their place, where convolutions want them.
                squares = torch.cat([self._input.square(image) for image in images])
                encoded = self.sam.image_encoder(
                    squares.contiguous(memory_format=torch.channels_last)
                ).float()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise too_large(self.device, len(images)) from error
        return [
            self._embedding((image.shape[0], image.shape[1]), tensor)
            for image, tensor in zip(images, encoded.split(1), strict=True)
        ]

    def _embedding(self, image_hw: tuple[int, int], encoded: torch.Tensor) -> Embedding:
        rows, cols = self._input.hw(image_hw)
        stride = self._input.side // encoded.shape[-1]
        return Embedding(
            features=fetched(encoded[0, : self.sam.mask_decoder.transformer_dim]),
            extent=(rows / stride, cols / stride),
            image_hw=image_hw,
            state=self._decoder.prepare(encoded),
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
            multimask: three masks a row (SAM's outputs 1 to 3) or its single output 0; levels
                number the three by falling area.
            min_score: drop masks whose estimated IoU, clipped to [0, 1], is below this.
            min_stability: drop masks whose stability score, on the logit grid, is below this.

        Returns:
            masks in order of row, then of SAM's output; a row may have lost all of its masks.

        Raises:
            InputError: the embedding is of another backend, mask prompts do not have the size of
                the logit grid, or a row asks nothing or for levels that the model lacks.
            BackendError: not enough memory for one prompt, or ``whole`` is not known to the model.
        """
        self._check(embedding, prompts)
        return decode_in_batches(
            lambda rows: self._decode_parts(
                [Part(embedding, prompts, rows)], multimask, min_score, min_stability
            )[0],
            prompts,
            embedding,
            self.batch_size,
        )

    @torch.inference_mode()
    def decode_several(
        self,
        asked: Sequence[tuple[Embedding, Prompts]],
        *,
        multimask: bool = True,
        min_score: float = 0.0,
        min_stability: float = 0.0,
    ) -> list[Proposals]:
        """Answer prompts about several pictures, in batches across the pictures.

        Rows without a mask prompt share what was made of their picture: where they come in
        hundreds, and on a CPU always, they are answered picture by picture. Arguments, answers and
        errors are those of ``decode``, but a batch that does not fit into memory is not halved.
        """
        for embedding, prompts in asked:
            self._check(embedding, prompts)
        return decode_across(
            asked,
            lambda parts: self._decode_parts(parts, multimask, min_score, min_stability),
            lambda *one: self.decode(
                *one, multimask=multimask, min_score=min_score, min_stability=min_stability
            ),
            self.batch_size,
            0 if self.device.type == "cpu" else FEW,
        )

    def _check(self, embedding: Embedding, prompts: Prompts) -> None:
        checks.check_state(embedding, Picture, "a SAM backend")
        checks.check_mask_prompts(prompts, embedding)
        model = MODELS.get(self.name)
        checks.check_levels(prompts, self.name, model.levels if model else 0)
        checks.check_whole(prompts, self.name, answers=self.answers_whole)

    def _decode_parts(
        self, parts: Sequence[Part], multimask: bool, min_score: float, min_stability: float
    ) -> list[Proposals]:
        """Decode rows with the same kinds of prompts, those of several parts with masks."""
        sparse, dense = self._input.prompts(parts)
        features = None
        if len(parts) > 1:
            features = torch.cat(
                [part.embedding.state.features.expand(len(part.rows), -1, -1, -1) for part in parts]
            )
        logits, scores, left = self._decoder.decode(
            parts[0].embedding.state,
            sparse,
            dense,
            features=features,
            multimask=multimask or parts[0].prompts.levels is not None,
            min_score=min_score,
        )
        limits = (min_score, min_stability)
        if len(parts) == 1:
            return [self._answer(parts[0], logits, scores, left, *limits)]
        answers, end = [], 0
        for part in parts:
            start, end = end, end + len(part.rows)
            own = (left >= start) & (left < end)
            answers.append(self._answer(part, logits[own], scores[own], left[own] - start, *limits))
        return answers

    def _answer(
        self,
        part: Part,
        logits: torch.Tensor,
        scores: torch.Tensor,
        left: torch.Tensor,
        min_score: float,
        min_stability: float,
    ) -> Proposals:
        image_hw = part.embedding.image_hw
        input_hw = self._input.hw(image_hw)
        rows, level = part.rows[left.cpu().numpy()], None
        if part.prompts.levels is not None:
            logits, scores, level = by_area(logits, scores, part.prompts.levels[rows])
        how = Enlargement(
            enlarge=lambda some: enlarge_padded(some, self._input.side, input_hw, image_hw),
            covered=(input_hw[0] / self._input.side, input_hw[1] / self._input.side),
            image_hw=image_hw,
        )
        return keep(
            logits,
            scores,
            rows,
            how,
            min_score=min_score,
            min_stability=min_stability,
            level=level,
        )

    @cached_property
    def _decoder(self) -> AbsorbedDecoder:
        return AbsorbedDecoder(self.sam, torch.bfloat16 if self.autocast else torch.float32)

    @cached_property
    def _input(self) -> SamInput:
        return SamInput(sam=self.sam, device=self.device)

    @property
    def answers_whole(self) -> bool:
        """Whether ``Prompts.whole`` is understood; only ``tiny`` does."""
        return hasattr(self.sam.prompt_encoder, "whole")

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast)
