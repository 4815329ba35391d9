"""The many-to-many decoder: six masks for a click (Li et al., Semantic-SAM, arXiv 2307.04767).

Six learned tokens start at the click, look at each other and at the picture, and move their boxes
in nine rounds. Clicks do not see each other, as in the training and evaluation of the published
weights (its demonstration lets them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from uosam.backends.semantic_sam.deformable import DeformableAttention
from uosam.backends.semantic_sam.pixels import HIDDEN, WIDTH, Encoded, waves

TOKENS = 6
LEVEL_TOKEN = (3, 2, 0, 4, 1, 5)
"""Token that answers for level 1 (whole) to 6 (smallest part)."""
CLICK_SIZE = 0.005
"""Side of the box that stands for a click, as a share of the picture."""

Values = list[list[torch.Tensor]]
"""For every decoder layer, the projected pyramid."""


def logit(share: torch.Tensor) -> torch.Tensor:
    """Invert the sigmoid, both ends held off by 1e-5."""
    return torch.log(share.clamp(min=1e-5) / (1 - share).clamp(min=1e-5))


class Layers(nn.Module):
    """A row of linear layers with ReLU between."""

    def __init__(self, inside: int, outside: int, amount: int) -> None:
        super().__init__()
        sizes = [inside, *[WIDTH] * (amount - 1), outside]
        self.layers = nn.ModuleList(map(nn.Linear, sizes, sizes[1:]))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Map (..., inside) to (..., outside)."""
        first, *others = self.layers
        values = first(values)
        for layer in others:
            values = layer(F.relu(values))
        return values


class DecoderLayer(nn.Module):
    """Tokens of a click look at each other, then at the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.cross_attn = DeformableAttention(WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.self_attn = nn.MultiheadAttention(WIDTH, 8, batch_first=True)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.linear1 = nn.Linear(WIDTH, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, WIDTH)
        self.norm3 = nn.LayerNorm(WIDTH)

    def forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        boxes: torch.Tensor,
        values: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        """Map (B, 6, C) tokens to the same; ``positions`` likewise, ``boxes`` (B, 6, 4)."""
        asking = tokens + positions
        seen, _ = self.self_attn(asking, asking, tokens, need_weights=False)
        tokens = self.norm2(tokens + seen)
        # All clicks are queries about one picture.
        levels = len(values)
        references = boxes.flatten(0, 1)[None, :, None].expand(1, -1, levels, -1)
        asking = (tokens + positions).flatten(0, 1)[None]
        looked = self.cross_attn(asking, references, values)
        tokens = self.norm1(tokens + looked.view_as(tokens))
        mapped: torch.Tensor = self.norm3(tokens + self.linear2(F.relu(self.linear1(tokens))))
        return mapped


class Decoder(nn.Module):
    """The nine layers, and what turns a box into a position."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(layers))
        self.ref_point_head = Layers(2 * WIDTH, WIDTH, 2)

    def positions(self, boxes: torch.Tensor) -> torch.Tensor:
        """Embed (B, 6, 4) boxes x, y, w, h; (B, 6, C)."""
        ordered = boxes[..., [1, 0, 2, 3]]
        embedded: torch.Tensor = self.ref_point_head(waves(ordered * 2 * math.pi).flatten(-2))
        return embedded


class Predictor(nn.Module):
    """Answers clicks from what the pixel decoder made of a picture."""

    def __init__(self, layers: int = 9) -> None:
        super().__init__()
        self.mask_embed = Layers(WIDTH, WIDTH, 3)
        self.decoder_norm = nn.LayerNorm(WIDTH)
        self.decoder = Decoder(layers)
        self._bbox_embed = Layers(WIDTH, 4, 3)
        self.iou_prediction_head = Layers(WIDTH, 1, 3)
        self.mask_tokens = nn.Embedding(TOKENS, WIDTH)
        self.pb_embedding = nn.Embedding(2, WIDTH)
        self.label_enc = nn.Embedding(2, WIDTH)

    def project(self, encoded: Encoded) -> Values:
        """Project the pyramid for every layer: most of the work of a click, and image only."""
        return [
            layer.get_submodule("cross_attn").project(encoded.pyramid)  # type: ignore[operator]
            for layer in self.decoder.layers
        ]

    def content(self) -> torch.Tensor:
        """Return what the tokens of every click begin with; (6, C)."""
        kind = self.label_enc.weight[0] + self.pb_embedding.weight[0]
        return kind + self.mask_tokens.weight

    def decode(
        self, boxes: torch.Tensor, values: Values
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Answer B clicks.

        Args:
            boxes: (B, 4) centre and size, as shares of the padded picture.
            values: from ``project``.

        Returns:
            (B, 6, C) tokens after every layer, and (B, 6, 4) boxes before the first and after
            every layer.
        """
        tokens = self.content().expand(len(boxes), -1, -1)
        place = logit(boxes)[:, None].expand(-1, TOKENS, -1).sigmoid()
        history, places = [], [place]
        for layer, value in zip(self.decoder.layers, values, strict=True):
            tokens = layer(tokens, self.decoder.positions(place), place, value)
            place = (self._bbox_embed(tokens) + logit(place)).sigmoid()
            history.append(tokens)
            places.append(place)
        return history, places

    def heads(
        self, tokens: torch.Tensor, mask_features: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read masks and scores off the last tokens (B, 6, C).

        Returns:
            logits (B, 6, H / 4, W / 4), and raw scores (B, 6): any real number, trained towards
            the soft Dice of the mask.
        """
        # The published network norms twice, and was trained so.
        normed = self.decoder_norm(self.decoder_norm(tokens))
        logits = torch.einsum("btc,chw->bthw", self.mask_embed(normed), mask_features[0])
        return logits, self.iou_prediction_head(normed)[..., 0]
