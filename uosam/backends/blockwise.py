"""Attention of SAM's image encoder, a few rows of the picture at a time.

The encoder of Kirillov et al., "Segment Anything", 2023 (section 3) is a ViT with positions
relative to each query, by row and by column (Li et al., "Exploring plain vision transformer
backbones for object detection", 2022). As published, every global block holds three copies of the
likeness of all pairs of cells: 0.8 GB each in vit_b. Here the likeness of some queries with all
keys is made, turned into shares and used up before the next: it never leaves a CPU's cache.
"""

from __future__ import annotations

from typing import Any

import torch
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import nn

_PAIRS = 2**20  # of query and key at a time: 4 MiB of float32


def attend_in_blocks(encoder: nn.Module) -> None:
    """Exchange the attention of a SAM image encoder, in place; names of weights stay.

    On the CPU only: an accelerator is better off with few large steps.
    """
    for module in encoder.modules():
        for name, child in module.named_children():
            if isinstance(child, Attention) and child.use_rel_pos:
                setattr(module, name, BlockwiseAttention(child))


class BlockwiseAttention(nn.Module):
    """One layer of attention over a grid or a window, with the weights of a published one."""

    def __init__(self, published: Any) -> None:
        super().__init__()
        self.num_heads = published.num_heads
        self.scale = published.scale
        self.qkv = published.qkv
        self.proj = published.proj
        self.rel_pos_h = published.rel_pos_h
        self.rel_pos_w = published.rel_pos_w

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, H, W, C) grids or windows to the same shape."""
        batch, height, width, channels = x.shape
        count = height * width
        qkv = self.qkv(x).view(batch, count, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        # One head of one grid after the other: (B * heads, H * W, d) each.
        query, key, value = qkv.flatten(1, 2).contiguous()
        grid = query.view(len(query), height, width, -1)
        by_row = get_rel_pos(height, height, self.rel_pos_h).to(query.dtype)
        by_column = get_rel_pos(width, width, self.rel_pos_w).to(query.dtype)
        apart_rows = torch.einsum("bhwc,hkc->bhwk", grid, by_row)
        apart_columns = torch.einsum("bhwc,wkc->bhwk", grid, by_column)
        seen = torch.empty_like(query)
        heads = max(1, _PAIRS // count**2)
        lines = max(1, _PAIRS // (width * count))
        for first in range(0, len(query), heads):
            some = slice(first, first + heads)
            for line in range(0, height, lines):
                part = slice(line, line + lines)
                cells = slice(line * width, (line + lines) * width)
                likeness = apart_rows[some, part, :, :, None] + apart_columns[some, part, :, None]
                likeness = likeness.flatten(3).flatten(1, 2)
                likeness.baddbmm_(query[some, cells], key[some].mT, alpha=self.scale)
                seen[some, cells] = likeness.softmax(-1) @ value[some]
        seen = seen.view(batch, self.num_heads, count, -1).transpose(1, 2)
        projected: torch.Tensor = self.proj(seen.reshape(batch, height, width, channels))
        return projected
