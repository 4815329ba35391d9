"""Swin Transformer as a backbone (Liu et al., ICCV 2021), under the names of the public weights.

Maps are (N, H, W, C). Windows are padded before they are shifted, and they are shifted whatever
the size of the map; other copies of this network differ in one or the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

_HIDDEN = -100.0  # added to attention between places that only the shift made neighbours


def relative_index(window: int) -> torch.Tensor:
    """Return the row of the bias table for every pair of places of a window; (w * w, w * w)."""
    rows, cols = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    places = torch.stack([rows.flatten(), cols.flatten()])
    apart = places[:, :, None] - places[:, None, :] + window - 1
    return apart[0] * (2 * window - 1) + apart[1]


class WindowAttention(nn.Module):
    """Attention among the places of a window, with a learned bias for where they lie."""

    relative_position_index: torch.Tensor

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_index(window))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, windows: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Let (n, w * w, C) places attend; ``mask`` is (n, w * w, w * w), added, or None."""
        amount, places, width = windows.shape
        query, key, value = (
            self.qkv(windows).view(amount, places, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(places, places, self.heads).permute(2, 0, 1)[None]
        if mask is not None:
            bias = bias + mask[:, None]
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        joined: torch.Tensor = self.proj(seen.transpose(1, 2).reshape(amount, places, width))
        return joined


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        """Map (..., C) to (..., C)."""
        mapped: torch.Tensor = self.fc2(F.gelu(self.fc1(places)))
        return mapped


class Block(nn.Module):
    """Attention in windows, shifted or not, and an MLP."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, window, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, cells: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map (1, H, W, C) to the same; ``mask`` is that of shifted windows."""
        _, height, width, channels = cells.shape
        side, shift = self.window, self.shift
        normed = F.pad(self.norm1(cells), (0, 0, 0, -width % side, 0, -height % side))
        if shift:
            normed = torch.roll(normed, (-shift, -shift), (1, 2))
        rows, cols = normed.shape[1] // side, normed.shape[2] // side
        windows = normed.view(rows, side, cols, side, channels).transpose(1, 2)
        seen = self.attn(windows.reshape(-1, side * side, channels), mask if shift else None)
        whole = seen.view(rows, cols, side, side, channels).transpose(1, 2)
        whole = whole.reshape(1, rows * side, cols * side, channels)
        if shift:
            whole = torch.roll(whole, (shift, shift), (1, 2))
        cells = cells + whole[:, :height, :width]
        mapped: torch.Tensor = cells + self.mlp(self.norm2(cells))
        return mapped


def shifted_mask(height: int, width: int, window: int) -> torch.Tensor:
    """Return what hides places of a shifted window from each other; (n, w * w, w * w), 0 or -100.

    Args:
        height: rows of the map, padded to whole windows.
        width: columns likewise.
        window: side of a window; the shift is half of it.
    """
    regions = torch.zeros(height, width)
    cuts = (slice(0, -window), slice(-window, -(window // 2)), slice(-(window // 2), None))
    for number, (rows, cols) in enumerate((r, c) for r in cuts for c in cuts):
        regions[rows, cols] = number
    windows = regions.view(height // window, window, width // window, window).transpose(1, 2)
    places = windows.reshape(-1, window * window)
    return (places[:, None] != places[:, :, None]).float() * _HIDDEN


class Merging(nn.Module):
    """Join 2 x 2 cells into one of twice the channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Map (1, H, W, C), H and W even, to (1, H / 2, W / 2, 2C)."""
        quarters = [cells[:, row::2, col::2] for col in (0, 1) for row in (0, 1)]
        merged: torch.Tensor = self.reduction(self.norm(torch.cat(quarters, -1)))
        return merged


class Stage(nn.Module):
    """Blocks, every other one shifted, and what leads to the next stage."""

    def __init__(self, width: int, depth: int, heads: int, window: int, last: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            Block(width, heads, window, window // 2 * (number % 2)) for number in range(depth)
        )
        if not last:
            self.downsample = Merging(width)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """Map (1, H, W, C) to the same, before merging."""
        height, width = (side + -side % self.window for side in cells.shape[1:3])
        mask = shifted_mask(height, width, self.window).to(cells.device)
        for block in self.blocks:
            cells = block(cells, mask)
        return cells


class PatchEmbed(nn.Module):
    """Turn 4 x 4 pixels into a cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 4, 4)
        self.norm = nn.LayerNorm(width)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map (1, 3, H, W) to (1, H / 4, W / 4, C)."""
        cells: torch.Tensor = self.norm(self.proj(pixels).permute(0, 2, 3, 1))
        return cells


class Swin(nn.Module):
    """The backbone: four maps, each with a layer norm of its own."""

    def __init__(
        self, width: int, depths: Sequence[int], heads: Sequence[int], window: int
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(width)
        last = len(depths) - 1
        self.layers = nn.ModuleList(
            Stage(width << level, depth, amount, window, last=level == last)
            for level, (depth, amount) in enumerate(zip(depths, heads, strict=True))
        )
        for level in range(len(depths)):
            self.add_module(f"norm{level}", nn.LayerNorm(width << level))

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Map (1, 3, H, W), sides multiples of 32, to (1, C, h, w) at strides 4, 8, 16, 32."""
        cells = self.patch_embed(pixels)
        maps = []
        for level, stage in enumerate(self.layers):
            cells = stage(cells)
            maps.append(self.get_submodule(f"norm{level}")(cells).permute(0, 3, 1, 2))
            if level + 1 < len(self.layers):
                cells = stage.get_submodule("downsample")(cells)
        return maps
