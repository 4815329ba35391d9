"""Attention between the tokens of a mask decoder and the cells of the picture.

Two kinds of cells, with the same two questions: ``Picture``, shared by all rows of prompts, whose
projections are made once; and ``Cells``, different in every row, whose projections are absorbed
into the tokens (see ``uosam.backends.sam.absorbed``). ``attention`` is always one of the package's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

ABSORBED_TOKENS = 16
"""Up to this many tokens the weights are absorbed, beyond it attention is the package's.

Measured on two cores for decoders of width 96 to 256 with 4 or 8 heads: at 7 tokens absorbing takes
0.45 to 0.7 of the time, at 16 between 0.85 and 1.1 (float32), at 32 about 1.2.
"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """An encoded picture and what the first layer makes of it without a mask prompt.

    Attributes:
        features: (1, C, h, w) float32, from the image encoder, with what it says of finer detail.
        cells: (N, C) features of the h * w cells, with the embedding for "no mask".
        key: (heads, d, N) where the tokens look.
        value: (heads, N, d) what they see there.
        query: (heads, d, N) what the cells ask of the tokens.
        detail: (1, 16 N, c) added where masks are drawn; None for models without it.
    """

    features: torch.Tensor
    cells: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    query: torch.Tensor
    detail: torch.Tensor | None = None

    def seen_by(self, attention: Any, asking: torch.Tensor) -> torch.Tensor:
        """Return what tokens (B, T, C) see in the cells; (B, T, C)."""
        rows, count, _ = asking.shape
        # Rows and tokens become one dimension: the cells are the same for all of them.
        query = _heads(attention, attention.q_proj(asking)).transpose(0, 1).flatten(1, 2)
        shares = (query.to(self.key.dtype) @ self.key).softmax(-1)
        seen = (shares @ self.value).float().view(attention.num_heads, rows, count, -1)
        merged: torch.Tensor = attention.out_proj(seen.permute(1, 2, 0, 3).flatten(2))
        return merged

    def looking_at(
        self, attention: Any, asking: torch.Tensor, tokens: torch.Tensor
    ) -> torch.Tensor:
        """Add to the cells what they see in tokens (B, T, C); (B, N, C)."""
        keys = _heads(attention, attention.k_proj(asking)).to(self.query.dtype)
        return _add_seen(attention, keys @ self.query, tokens, self.cells)


@dataclass(frozen=True, eq=False, kw_only=True)
class Cells:
    """The cells of a picture as every row of prompts has changed them.

    Attributes:
        cells: (B, N, C).
        placed: (B, N, C) with the encoding of their positions added.
    """

    cells: torch.Tensor
    placed: torch.Tensor

    def seen_by(self, attention: Any, asking: torch.Tensor) -> torch.Tensor:
        """Return what tokens (B, T, C) see in the cells; (B, T, C)."""
        if asking.shape[1] > ABSORBED_TOKENS:
            return _attend_plainly(attention, asking, self.placed, self.cells)
        rows, count, _ = asking.shape
        query = _heads(attention, attention.q_proj(asking)) @ _by_head(attention, attention.k_proj)
        shares = (query.flatten(1, 2).to(self.cells.dtype) @ self.placed.mT).softmax(-1)
        seen = (shares @ self.cells).float().view(rows, attention.num_heads, count, -1)
        values = (seen @ _by_head(attention, attention.v_proj).mT).transpose(1, 2).flatten(2)
        merged: torch.Tensor = attention.out_proj(values + attention.v_proj.bias)
        return merged

    def looking_at(
        self, attention: Any, asking: torch.Tensor, tokens: torch.Tensor
    ) -> torch.Tensor:
        """Add to the cells what they see in tokens (B, T, C); (B, N, C)."""
        if asking.shape[1] > ABSORBED_TOKENS:
            return self.cells + _attend_plainly(attention, self.placed, asking, tokens)
        keys = _heads(attention, attention.k_proj(asking))
        columns = (keys @ _by_head(attention, attention.q_proj)).flatten(1, 2)
        constant = keys @ attention.q_proj.bias.view(attention.num_heads, -1, 1)
        likeness = (columns.to(self.cells.dtype) @ self.placed.mT).view(*keys.shape[:3], -1)
        return _add_seen(attention, likeness + constant.to(self.cells.dtype), tokens, self.cells)


def _add_seen(
    attention: Any, likeness: torch.Tensor, tokens: torch.Tensor, cells: torch.Tensor
) -> torch.Tensor:
    """Add to cells what they take from tokens; (B, N, C).

    Args:
        attention: whose values count.
        likeness: (B, heads, T, N) of tokens and cells, before the softmax over tokens.
        tokens: (B, T, C).
        cells: (B, N, C), or (N, C) for all rows.
    """
    rows, count, _ = tokens.shape
    heads, width = attention.num_heads, cells.shape[-1]
    values = attention.v_proj(tokens).view(rows, count, heads, -1).transpose(1, 2)
    offers = values @ attention.out_proj.weight.view(width, heads, -1).permute(1, 2, 0)
    # The shares of each head sum to one, so each brings its part of the bias of the output.
    offers = (offers + attention.out_proj.bias / heads).flatten(1, 2).to(cells.dtype)
    shares = likeness.softmax(2).flatten(1, 2)
    return torch.baddbmm(cells.expand(rows, -1, -1), shares.mT, offers)


def _attend_plainly(
    attention: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """Attend as the package does; the result has the type of ``query``."""
    lowered = torch.bfloat16 in (query.dtype, key.dtype)
    with torch.autocast(query.device.type, dtype=torch.bfloat16, enabled=lowered):
        seen: torch.Tensor = attention(query, key, value)
    return seen.to(query.dtype)


def _heads(attention: Any, projected: torch.Tensor) -> torch.Tensor:
    """Split (B, T, D) into (B, heads, T, d), scaled for the softmax."""
    rows, count, width = projected.shape
    size = width // attention.num_heads
    split = projected.view(rows, count, attention.num_heads, size).transpose(1, 2)
    return split / math.sqrt(size)


def _by_head(attention: Any, projection: Any) -> torch.Tensor:
    """Weights (heads, d, C) of a projection from C to heads x d."""
    weight: torch.Tensor = projection.weight
    return weight.view(attention.num_heads, -1, weight.shape[1])
