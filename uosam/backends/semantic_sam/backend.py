"""Semantic-SAM behind the two-method seam (Li et al., arXiv 2307.04767, ECCV 2024).

Image only: backbone, pixel decoder and the projections of its pyramid. A click costs what is left:
six tokens and nine layers. Clicks of a row are answered each alone; negative points, boxes and
mask prompts, for which the weights were not trained, choose among the answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from uosam.backends import BackendOptions
from uosam.backends.batching import decode_in_batches, keep
from uosam.backends.checks import check_image, check_levels, check_mask_prompts, check_state
from uosam.backends.device import choose_device, out_of_memory, set_tf32, too_large
from uosam.backends.grids import Enlargement, fetched
from uosam.backends.semantic_sam.choice import Candidates, box_likeness, choose, mask_likeness
from uosam.backends.semantic_sam.clicks import LEVEL_TOKEN, TOKENS, Values
from uosam.backends.semantic_sam.input import click_boxes, enlarge, input_hw, padded_hw, prepare
from uosam.backends.semantic_sam.network import SIZES, SemanticSam
from uosam.backends.semantic_sam.pixels import Encoded
from uosam.backends.semantic_sam.weights import load_network
from uosam.backends.weights.checkpoints import find_checkpoint
from uosam.errors import unknown
from uosam.structures import Embedding, Floats, Image, Prompts, Proposals

_CELL = 4
"""Pixels of the network's input to a cell of its logits."""
_FEATURES = 1  # map of the pyramid, of stride 16, that is an embedding's features


def load(options: BackendOptions) -> SemanticSamBackend:
    """Build the network that ``options.name`` says and fill it from its weights file.

    Raises:
        ConfigError: the name is not a Semantic-SAM.
        BackendError: the file is missing, damaged or of another model, or there is no such device.
    """
    if options.name not in SIZES:
        raise unknown("Semantic-SAM model", options.name, SIZES)
    path = find_checkpoint(options.name, options.checkpoint)
    device = choose_device(options.device)
    set_tf32(device, options.tf32)
    return SemanticSamBackend(
        network=load_network(path, options.name).to(device),
        device=device,
        autocast=options.precision == "bfloat16",
        batch_size=options.batch_size,
        side=options.side,
        order=options.order,
        name=options.name,
    )


@dataclass(eq=False, kw_only=True)
class State:
    """What clicks on one picture are answered from.

    Attributes:
        encoded: by the network.
        hw: size of the picture in the network, without padding.
        values: projections of the pyramid, made at the first click; 118 MB for 640 x 960.
    """

    encoded: Encoded
    hw: tuple[int, int]
    values: Values | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class SemanticSamBackend:
    """A promptable segmenter with six levels of granularity.

    Attributes:
        network: in evaluation mode, on ``device``, with float32 weights.
        device: where it computes.
        autocast: run the backbone in bfloat16; all else stays in float32, as published.
        batch_size: rows of prompts decoded at a time at most.
        side: pixels of a picture's short side in the network.
        order: whether a level is what the "token" of that level says, or the rank of the "area".
        name: key of ``SIZES``.
    """

    network: SemanticSam
    device: torch.device
    autocast: bool = False
    batch_size: int = 64
    side: int = 640
    order: Literal["token", "area"] = "token"
    name: str = "Semantic-SAM"

    @torch.inference_mode()
    def embed(self, image: Image) -> Embedding:
        """Encode one picture.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            features (256, h, w) float32 of stride 16; the picture covers their upper left part.

        Raises:
            InputError: the array is not (H, W, 3) uint8 or has no pixels.
            BackendError: the device has not enough memory for one picture.
        """
        check_image(image)
        hw = input_hw((image.shape[0], image.shape[1]), self.side)
        pixels = prepare(image, hw, self.device)
        try:
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
                fine, *pyramid = self.network.get_image_embeddings(pixels)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise too_large(self.device, 1) from error
        features = pyramid[-1 - _FEATURES]
        stride = padded_hw(hw)[0] / features.shape[2]
        return Embedding(
            features=fetched(features[0]),
            extent=(hw[0] / stride, hw[1] / stride),
            image_hw=(image.shape[0], image.shape[1]),
            state=State(encoded=Encoded(fine, tuple(pyramid)), hw=hw),
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

        Args:
            embedding: from ``embed`` of this backend.
            prompts: a row without a point inside is answered from where its mask is deepest, or
                from the middle of its box; one of outside points alone has no answer.
            multimask: the best three different masks of a row, or the best. Rows that ask for
                levels get the best mask of each level, unless negative points rule all of it out.
            min_score: drop masks whose estimated IoU is below this. The network estimates Dice d,
                clipped to [0, 1]; the IoU is d / (2 - d).
            min_stability: drop masks whose stability score, on the logit grid, is below this.

        Returns:
            masks in order of row, then of level or rank; a row may have lost all of its masks.

        Raises:
            InputError: the embedding is of another backend, mask prompts do not have the size of
                the logit grid, a row asks nothing, or for a level above 6.
            BackendError: the device has not enough memory for one prompt.
        """
        check_state(embedding, State, "Semantic-SAM")
        check_mask_prompts(prompts, embedding)
        check_levels(prompts, self.name, TOKENS)
        return decode_in_batches(
            lambda rows: self._decode_rows(
                embedding, prompts, rows, 3 if multimask else 1, min_score, min_stability
            ),
            prompts,
            embedding,
            self.batch_size,
        )

    def click(self, embedding: Embedding, shares: Floats) -> tuple[torch.Tensor, torch.Tensor]:
        """Answer clicks, each alone, in order of level.

        Args:
            embedding: from ``embed`` of this backend.
            shares: (B, 2) x, y as shares of the picture.

        Returns:
            logits (B, 6, Hp / 4, Wp / 4) and raw scores (B, 6), of level 1 to 6; a score estimates
            Dice and may be any real number.
        """
        state: State = embedding.state
        predictor = self.network.predictor
        if state.values is None:
            state.values = predictor.project(state.encoded)
        boxes = click_boxes(shares, state.hw, self.device)
        tokens, _ = predictor.decode(boxes, state.values)
        logits, scores = predictor.heads(tokens[-1], state.encoded.mask_features)
        order = torch.tensor(LEVEL_TOKEN, device=self.device).expand(len(logits), -1)
        if self.order == "area":
            rows, cols = _covered(state.hw)
            areas = (logits[..., :rows, :cols] > 0).sum((-1, -2)).gather(1, order)
            by_area = areas.argsort(dim=1, descending=True, stable=True)
            order = order.gather(1, by_area)
        row = torch.arange(len(logits), device=self.device)[:, None]
        return logits[row, order], scores[row, order]

    def _decode_rows(
        self,
        embedding: Embedding,
        prompts: Prompts,
        rows: NDArray[np.int64],
        amount: int,
        min_score: float,
        min_stability: float,
    ) -> Proposals:
        clicks = [_clicks(embedding, prompts, row) for row in rows.tolist()]
        owner = np.repeat(np.arange(len(rows)), [len(some) for some in clicks])
        logits, scores = self.click(embedding, np.concatenate(clicks))
        dice = scores.clamp(0, 1)
        ious = (dice / (2 - dice)).cpu().numpy()
        height, width = _covered(embedding.state.hw)
        masks = (logits[..., :height, :width] > 0).cpu().numpy()
        chosen: list[int] = []
        levels: list[int] = []
        owners: list[int] = []
        for index, row in enumerate(rows.tolist()):
            own = np.flatnonzero(owner == index)
            if not len(own):
                continue
            asked = None
            if prompts.levels is not None:
                asked = prompts.levels[row][prompts.levels[row] > 0].tolist()
            found = _candidates(embedding, prompts, row, masks[own], ious[own])
            picked = choose(found, asked, amount)
            chosen += [int(own[0]) * TOKENS + one for one in picked]
            levels += [int(found.level[one]) for one in picked]
            owners += [row] * len(picked)
        at = torch.tensor(chosen, dtype=torch.long, device=self.device)
        hw = embedding.state.hw
        how = Enlargement(
            enlarge=lambda some: enlarge(some, hw, embedding.image_hw),
            covered=(hw[0] / padded_hw(hw)[0], hw[1] / padded_hw(hw)[1]),
            image_hw=embedding.image_hw,
        )
        return keep(
            logits.flatten(0, 1)[at][:, None],
            torch.as_tensor(ious, device=self.device).flatten()[at][:, None],
            np.array(owners, np.int64),
            how,
            min_score=min_score,
            min_stability=min_stability,
            level=np.array(levels, np.int8).reshape(-1, 1),
        )


def _covered(hw: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of the logit grid that a picture covers, at least in part."""
    return -(-hw[0] // _CELL), -(-hw[1] // _CELL)


def _clicks(embedding: Embedding, prompts: Prompts, row: int) -> Floats:
    """Return where a row clicks, as shares x, y of the picture; (P, 2)."""
    height, width = embedding.image_hw
    points = prompts.points[row][prompts.point_labels[row] == 1]
    if not len(points) and prompts.logits is not None:
        rows, cols = _covered(embedding.state.hw)
        asked = prompts.logits[row, :rows, :cols]
        mask = np.pad(asked > 0, 1).astype(np.uint8)
        depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(int((depth if depth.any() else asked).argmax()), asked.shape)
        share = np.array([[x + 0.5, y + 0.5]]) * _CELL / embedding.state.hw[::-1]
        return np.asarray(share.clip(0, 1), np.float32)
    if not len(points) and prompts.boxes is not None:
        points = prompts.boxes[row].reshape(2, 2).mean(axis=0, keepdims=True)
    return np.asarray((points + 0.5) / (width, height), np.float32)


def _candidates(
    embedding: Embedding,
    prompts: Prompts,
    row: int,
    masks: NDArray[np.bool_],
    ious: Floats,
) -> Candidates:
    """Weigh the masks (P, 6, h, w) of a row's clicks by what else the row says."""
    flat = masks.reshape(-1, *masks.shape[2:])
    height, width = flat.shape[1:]
    to_cells = np.array(embedding.state.hw[::-1]) / _CELL / embedding.image_hw[::-1]
    value = ious.flatten()
    if prompts.boxes is not None:
        corners = prompts.boxes[row].reshape(2, 2) + np.array([[0], [1]])
        value = value * box_likeness(flat, (corners * to_cells).flatten().tolist())
    if prompts.logits is not None:
        value = value * mask_likeness(flat, prompts.logits[row, :height, :width] > 0)
    outside = prompts.points[row][prompts.point_labels[row] == 0]
    x, y = np.floor((outside + 0.5) * to_cells).astype(int).T
    hits = flat[:, y.clip(0, height - 1), x.clip(0, width - 1)].sum(axis=1)
    return Candidates(
        value=value,
        level=np.tile(np.arange(1, TOKENS + 1, dtype=np.int8), len(masks)),
        hits=hits,
        masks=flat.reshape(len(flat), -1),
    )
