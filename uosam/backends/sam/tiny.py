"""The embedded SAM: the package's prompt encoder and mask decoder, narrow, over an encoder of ours.

The encoder is a residual network (He et al., "Deep residual learning", 2016) with global attention
(Vaswani et al., 2017) on its coarsest grid and a top-down path to stride 8 (Lin et al., "Feature
pyramid networks", 2017). SAM's own grid has stride 16; at an eighth of SAM's weights the decoder
has to be told where edges are, not to remember it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

SIDE = 512
"""Pixels along the square a picture is fitted into."""

STRIDE = 8
"""Pixels to a cell of the embedding."""

WIDTH = 128
"""Channels of the embedding and of the decoder."""

_CHANNELS = (24, 48, 96, 144, 192)  # at strides 2, 4, 8, 16, 32
_BLOCKS = (0, 1, 2, 3, 0)
_ATTENTION_BLOCKS = 2
_HEADS = 4


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
    )


class _Residual(nn.Module):
    """Two convolutions around which the input passes unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels)
        # The block begins as the identity, so that depth does not slow the first steps.
        norm = self.second[1]
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))


class _Attention(nn.Module):
    """A transformer block over all cells; a depthwise convolution tells them where they are."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.place = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.place(x)
        batch, channels, height, width = x.shape
        cells = x.flatten(2).transpose(1, 2)
        q, k, v = (
            self.qkv(self.norm1(cells))
            .view(batch, height * width, 3, self.heads, channels // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        seen = F.scaled_dot_product_attention(q, k, v)
        cells = cells + self.out(seen.transpose(1, 2).reshape(cells.shape))
        cells = cells + self.mlp(self.norm2(cells))
        together: torch.Tensor = cells.transpose(1, 2).reshape(x.shape)
        return together


class TinyEncoder(nn.Module):
    """Image encoder of the ``tiny`` model: (B, 3, h, w) to (B, 128, h / 8, w / 8).

    ``h`` and ``w`` are multiples of 32; the network's own square is ``img_size``, training takes
    smaller crops of it.
    """

    def __init__(self, img_size: int = SIDE, width: int = WIDTH) -> None:
        super().__init__()
        self.img_size = img_size
        stages = []
        inputs = 3
        for channels, blocks in zip(_CHANNELS, _BLOCKS, strict=True):
            stages.append(
                nn.Sequential(
                    _conv(inputs, channels, 2),
                    nn.ReLU(),
                    *(_Residual(channels) for _ in range(blocks)),
                )
            )
            inputs = channels
        self.stages = nn.ModuleList(stages)
        self.attention = nn.Sequential(
            *(_Attention(_CHANNELS[4], _HEADS) for _ in range(_ATTENTION_BLOCKS))
        )
        # Stride 4 keeps its detail: 2 x 2 cells become channels of one.
        self.fine = nn.Sequential(nn.Conv2d(_CHANNELS[1], 32, 1), nn.PixelUnshuffle(2))
        self.lateral = nn.ModuleList(
            [nn.Conv2d(_CHANNELS[2] + 4 * 32, width, 1), nn.Conv2d(_CHANNELS[3], width, 1)]
        )
        self.top = nn.Conv2d(_CHANNELS[4], width, 1)
        self.merge = _conv(width, width)
        self.smooth = _conv(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode (B, 3, h, w) normalised pictures."""
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        _, fine, middle, coarse, last = levels
        top = self.top(self.attention(last))
        top = self.lateral[1](coarse) + F.interpolate(top, scale_factor=2, mode="nearest")
        top = F.relu(self.merge(top))
        top = F.interpolate(top, scale_factor=2, mode="nearest")
        detail = self.lateral[0](torch.cat([middle, self.fine(fine)], 1))
        features: torch.Tensor = self.smooth(F.relu(detail + top))
        return features


def build_sam_tiny() -> Sam:
    """Build the embedded SAM without weights: 3.7 million parameters, 512-pixel square."""
    grid = SIDE // STRIDE
    return Sam(
        image_encoder=TinyEncoder(),
        prompt_encoder=PromptEncoder(
            embed_dim=WIDTH,
            image_embedding_size=(grid, grid),
            input_image_size=(SIDE, SIDE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=WIDTH, num_heads=_HEADS, mlp_dim=4 * WIDTH
            ),
            transformer_dim=WIDTH,
            iou_head_depth=3,
            iou_head_hidden_dim=WIDTH,
        ),
    )
