"""Attention of SAM's image encoder without the likeness of all pairs of cells in memory.

The encoder of Kirillov et al., "Segment Anything", 2023 (section 3) is a ViT with positions
relative to each query, by row and by column (Li et al., "Exploring plain vision transformer
backbones for object detection", 2022). As published, every global block holds three copies of the
likeness of all pairs of cells: 0.8 GB each in vit_b. On a CPU the likeness of some queries with
all keys is made, turned into shares and used up before the next: it never leaves the caches. On an
accelerator the positions are the bias of PyTorch's fused attention, the one copy that is left;
compiled (``backend.compile``) they are added inside the kernel, and none is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import nn
from torch.nn import functional as F

_PAIRS = 2**20  # of query and key at a time on a CPU: 4 MiB of float32

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""From query, key and value (3, B, H * W, d), the likeness of positions (B, H, W, H) by row and
(B, H, W, W) by column, and the scale of the products, to what each query sees, (B, H * W, d)."""


def exchange_attention(encoder: nn.Module, attend: Attend) -> None:
    """Exchange the attention of a SAM image encoder, in place; names of weights stay."""
    for module in encoder.modules():
        for name, child in module.named_children():
            if isinstance(child, Attention) and child.use_rel_pos:
                setattr(module, name, RelativeAttention(child, attend))


class RelativeAttention(nn.Module):
    """One layer of attention over a grid or a window, with the weights of a published one."""

    def __init__(self, published: Any, attend: Attend) -> None:
        super().__init__()
        self.num_heads = published.num_heads
        self.scale = published.scale
        self.qkv = published.qkv
        self.proj = published.proj
        self.rel_pos_h = published.rel_pos_h
        self.rel_pos_w = published.rel_pos_w
        self.attend = attend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, H, W, C) grids or windows to the same shape."""
        batch, height, width, channels = x.shape
        count = height * width
        qkv = self.qkv(x).view(batch, count, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        # One head of one grid after the other: (B * heads, H * W, d) each.
        qkv = qkv.flatten(1, 2).contiguous()
        grid = qkv[0].view(-1, height, width, qkv.shape[-1])
        by_row = get_rel_pos(height, height, self.rel_pos_h).to(qkv.dtype)
        by_column = get_rel_pos(width, width, self.rel_pos_w).to(qkv.dtype)
        apart_rows = torch.einsum("bhwc,hkc->bhwk", grid, by_row)
        apart_columns = torch.einsum("bhwc,wkc->bhwk", grid, by_column)
        seen = self.attend(qkv, apart_rows, apart_columns, self.scale)
        seen = seen.view(batch, self.num_heads, count, -1).transpose(1, 2)
        projected: torch.Tensor = self.proj(seen.reshape(batch, height, width, channels))
        return projected


def attend_in_blocks(
    qkv: torch.Tensor, apart_rows: torch.Tensor, apart_columns: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attend with some rows of queries at a time."""
    query, key, value = qkv
    _, height, width, _ = apart_rows.shape
    count = height * width
    seen = torch.empty_like(query)
    heads = max(1, _PAIRS // count**2)
    lines = max(1, _PAIRS // (width * count))
    for first in range(0, len(query), heads):
        some = slice(first, first + heads)
        for line in range(0, height, lines):
            part = slice(line, line + lines)
            cells = slice(line * width, (line + lines) * width)
            likeness = _bias(apart_rows[some, part], apart_columns[some, part])
            likeness.baddbmm_(query[some, cells], key[some].mT, alpha=scale)
            seen[some, cells] = likeness.softmax(-1) @ value[some]
    return seen


def attend_fused(
    qkv: torch.Tensor, apart_rows: torch.Tensor, apart_columns: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attend with the fused kernels of PyTorch that take a bias.

    Source: segment-anything-fast (2023), which saved an eighth (vit_h) to a quarter (vit_b) of the
    time by it on an A100.
    """
    # The kernels know batches of heads.
    query, key, value = qkv[:, :, None]
    bias = _bias(apart_rows, apart_columns)[:, None]
    seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)
    return seen[:, 0]


def attend_flexibly(
    qkv: torch.Tensor, apart_rows: torch.Tensor, apart_columns: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attend with positions added to each likeness where it is made, so that no bias is in memory.

    It is fused only where it is compiled; as it is, PyTorch makes the likeness of all pairs.

    Source: FlexAttention (Dong et al., arXiv 2412.05496).
    """
    # It takes a second to import, and is not in every PyTorch.
    from torch.nn.attention.flex_attention import flex_attention

    # Batches of one head each.
    query, key, value = qkv[:, :, None]
    width = apart_columns.shape[-1]
    by_row, by_column = apart_rows.flatten(1, 2), apart_columns.flatten(1, 2)

    def placed(
        score: torch.Tensor,
        batch: torch.Tensor,
        head: torch.Tensor,
        asking: torch.Tensor,
        asked: torch.Tensor,
    ) -> torch.Tensor:
        near = by_row[batch, asking, asked // width] + by_column[batch, asking, asked % width]
        return score + near

    seen = flex_attention(query, key, value, score_mod=placed, scale=scale)
    assert isinstance(seen, torch.Tensor)
    return seen[:, 0]


def _bias(apart_rows: torch.Tensor, apart_columns: torch.Tensor) -> torch.Tensor:
    """Add likenesses (B, h, W, H) by row and (B, h, W, W) by column to (B, h * W, H * W)."""
    return (apart_rows[..., None] + apart_columns[..., None, :]).flatten(3).flatten(1, 2)
