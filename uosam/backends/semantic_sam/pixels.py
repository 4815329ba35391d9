"""The pixel decoder: what is known of a picture before anybody clicks (Mask DINO's, CVPR 2023)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from uosam.backends.semantic_sam.deformable import DeformableAttention

WIDTH = 256
"""Channels of everything after the backbone."""
HIDDEN = 2048
"""Channels inside the feed-forward parts."""
_GROUPS = 32
_STRIDES = 4  # levels: strides 8, 16, 32, 64


class Encoded(NamedTuple):
    """What clicks are answered from.

    Attributes:
        mask_features: (1, C, H / 4, W / 4).
        pyramid: (1, C, h, w) at strides 64, 32, 16, 8, in this order.
    """

    mask_features: torch.Tensor
    pyramid: tuple[torch.Tensor, ...]


def waves(values: torch.Tensor) -> torch.Tensor:
    """Turn angles (...) into 128 sines and cosines of falling frequency; (..., 128)."""
    half = WIDTH // 2
    pair = torch.arange(half, device=values.device) // 2
    angles = values[..., None] / 10000 ** (2 * pair / half)
    return torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], -1).flatten(-2)


def grid_positions(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return the positions of the cells of a map, first those of y; (h * w, 256)."""
    y, x = (
        waves((torch.arange(side, device=device) + 1) / (side + 1e-6) * 2 * math.pi)
        for side in (height, width)
    )
    both = (y[:, None].expand(-1, width, -1), x[None].expand(height, -1, -1))
    return torch.cat(both, -1).flatten(0, 1)


def cell_centres(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Return x, y of the cells of a map, in [0, 1]; (h * w, 2)."""
    y, x = ((torch.arange(side, device=device) + 0.5) / side for side in (height, width))
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], -1)


class EncoderLayer(nn.Module):
    """Let all cells of all levels look at a few places of all levels."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH)
        self.linear1 = nn.Linear(WIDTH, HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)

    def forward(
        self,
        cells: torch.Tensor,
        positions: torch.Tensor,
        references: torch.Tensor,
        sizes: list[tuple[int, int]],
    ) -> torch.Tensor:
        """Map (1, S, C) cells of all levels to the same."""
        values = self.self_attn.project(as_maps(cells, sizes))
        seen = self.self_attn(cells + positions, references, values)
        cells = self.norm1(cells + seen)
        mapped: torch.Tensor = self.norm2(cells + self.linear2(F.relu(self.linear1(cells))))
        return mapped


def as_maps(cells: torch.Tensor, sizes: list[tuple[int, int]]) -> list[torch.Tensor]:
    """Cut (1, S, C) cells into the maps (1, C, h, w) of levels."""
    parts = torch.split(cells, [height * width for height, width in sizes], dim=1)
    return [part.mT.reshape(len(part), -1, *size) for part, size in zip(parts, sizes, strict=True)]


class NormedConv(nn.Conv2d):
    """A convolution without bias, and a group norm under its own name."""

    def __init__(self, inside: int, kernel: int) -> None:
        super().__init__(inside, WIDTH, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(_GROUPS, WIDTH)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (1, inside, h, w) to (1, C, h, w)."""
        normed: torch.Tensor = self.norm(super().forward(maps))
        return normed


class PixelDecoder(nn.Module):
    """Backbone maps in, mask features and a pyramid out."""

    def __init__(self, width: int, layers: int = 6) -> None:
        super().__init__()
        inside = [2 * width, 4 * width, 8 * width]
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, WIDTH, 1), nn.GroupNorm(_GROUPS, WIDTH))
            for channels in inside
        )
        self.input_proj.append(
            nn.Sequential(
                nn.Conv2d(inside[-1], WIDTH, 3, 2, padding=1), nn.GroupNorm(_GROUPS, WIDTH)
            )
        )
        self.transformer = nn.Module()
        self.transformer.level_embed = nn.Parameter(torch.zeros(_STRIDES, WIDTH))
        self.transformer.encoder = nn.Module()
        self.transformer.encoder.layers = nn.ModuleList(EncoderLayer() for _ in range(layers))
        self.adapter_1 = NormedConv(width, 1)
        self.layer_1 = NormedConv(WIDTH, 3)
        self.mask_features = nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, maps: list[torch.Tensor]) -> Encoded:
        """Decode backbone maps (1, c, h, w) at strides 4, 8, 16, 32."""
        fine, *coarser = maps
        projected = [
            project(level)
            for project, level in zip(self.input_proj, [*coarser, coarser[-1]], strict=True)
        ]
        sizes = [(level.shape[2], level.shape[3]) for level in projected]
        embeds = self.transformer.get_parameter("level_embed")
        positions = torch.cat(
            [
                grid_positions(*size, fine.device) + embed
                for size, embed in zip(sizes, embeds, strict=True)
            ]
        )[None]
        centres = torch.cat([cell_centres(*size, fine.device) for size in sizes])
        references = centres[None, :, None].expand(1, -1, _STRIDES, -1)
        cells = torch.cat([level.flatten(2).mT for level in projected], 1)
        for layer in self.transformer.get_submodule("encoder.layers").children():
            cells = layer(cells, positions, references, sizes)
        pyramid = as_maps(cells, sizes)
        enlarged = F.interpolate(pyramid[0], fine.shape[2:], mode="bilinear", align_corners=False)
        mixed = F.relu(self.layer_1(self.adapter_1(fine) + enlarged))
        return Encoded(self.mask_features(mixed), tuple(reversed(pyramid)))
