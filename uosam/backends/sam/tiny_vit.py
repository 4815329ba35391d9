"""The image encoder of MobileSAM: TinyViT-5M with SAM's neck.

Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", 2022 (section 3.2
and table of variants); Zhang et al., "Faster Segment Anything: Towards Lightweight SAM for Mobile
Applications", 2023. Names of modules are those of the published weights file, so that it loads
strictly; among them is a classification head that nothing reads.

Grids: 1024 pixels, 256 after the stem, 128 in stage 1, 64 in stages 2 and 3.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import nn
from torch.nn import functional as F

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
EXPANSION = 4


def build_sam_vit_t() -> Sam:
    """Build MobileSAM: this encoder with the prompt encoder and mask decoder of the other sizes."""
    width, side, grid = 256, 1024, 64
    return Sam(
        image_encoder=TinyViT(side, width),
        prompt_encoder=PromptEncoder(
            embed_dim=width,
            image_embedding_size=(grid, grid),
            input_image_size=(side, side),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=2048, num_heads=8),
        ),
    )


class TinyViT(nn.Module):
    """Four stages, the first of convolutions, the others of attention in windows.

    Attributes:
        img_size: side of the square input in pixels, the name under which SAM looks for it.
    """

    def __init__(self, img_size: int = 1024, out_chans: int = 256) -> None:
        super().__init__()
        self.img_size = img_size
        self.patch_embed = _Stem(WIDTHS[0])
        self.layers = nn.ModuleList(_Stage(index) for index in range(len(WIDTHS)))
        self.norm_head = nn.LayerNorm(WIDTHS[-1])
        self.head = nn.Linear(WIDTHS[-1], 1000)
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], out_chans, 1, bias=False),
            LayerNorm2d(out_chans),
            nn.Conv2d(out_chans, out_chans, 3, padding=1, bias=False),
            LayerNorm2d(out_chans),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, S, S) normalised pixels to features (B, out_chans, S / 16, S / 16)."""
        grid = self.patch_embed(pixels)
        for layer in self.layers:
            grid = layer(grid)
        features: torch.Tensor = self.neck(grid)
        return features


class _ConvNorm(nn.Module):
    """A convolution without bias and its batch normalisation, ``c`` and ``bn`` in the file."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        normalised: torch.Tensor = self.bn(self.c(grid))
        return normalised


class _Stem(nn.Module):
    """Two convolutions of stride 2: a quarter of the side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            _ConvNorm(3, width // 2, 3, stride=2),
            nn.GELU(),
            _ConvNorm(width // 2, width, 3, stride=2),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        grid: torch.Tensor = self.seq(pixels)
        return grid


class _Stage(nn.Module):
    """Blocks of one width, then the step to the next width if there is one."""

    def __init__(self, index: int) -> None:
        super().__init__()
        width = WIDTHS[index]
        self.blocks = nn.ModuleList(
            _AttentionBlock(width, HEADS[index], WINDOWS[index]) if index else _ConvBlock(width)
            for _ in range(DEPTHS[index])
        )
        last = index == len(WIDTHS) - 1
        # MobileSAM keeps the 64 x 64 grid in the last stage: its step there has stride 1.
        stride = 1 if index == len(WIDTHS) - 2 else 2
        self.downsample = None if last else _Step(width, WIDTHS[index + 1], stride)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            grid = block(grid)
        return grid if self.downsample is None else self.downsample(grid)


class _Step(nn.Module):
    """From one width to the next, halving the side where the stride is 2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(inputs, outputs)
        self.conv2 = _ConvNorm(outputs, outputs, 3, stride=stride, groups=outputs)
        self.conv3 = _ConvNorm(outputs, outputs)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        widened: torch.Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(grid)))))
        return widened


class _ConvBlock(nn.Module):
    """Inverted bottleneck: widen, convolve each channel alone, narrow, add, activate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = EXPANSION * width
        self.conv1 = _ConvNorm(width, inner)
        self.conv2 = _ConvNorm(inner, inner, 3, groups=inner)
        self.conv3 = _ConvNorm(inner, width)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        return F.gelu(grid + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(grid))))))


class _AttentionBlock(nn.Module):
    """Attention in windows, a convolution across their borders, a two-layer network."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = _WindowAttention(width, heads, window)
        self.local_conv = _ConvNorm(width, width, 3, groups=width)
        self.mlp = _Mlp(width)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """Map (B, C, h, w) to the same shape; the grid is zero-padded to whole windows."""
        batch, channels, height, width = grid.shape
        side = self.window
        rows, cols = -(-height // side), -(-width // side)
        padded = F.pad(grid, (0, cols * side - width, 0, rows * side - height))
        windows = (
            padded.view(batch, channels, rows, side, cols, side)
            .permute(0, 2, 4, 3, 5, 1)
            .reshape(-1, side * side, channels)
        )
        attended = (
            self.attn(windows)
            .view(batch, rows, cols, side, side, channels)
            .permute(0, 5, 1, 3, 2, 4)
            .reshape(padded.shape)
        )
        grid = self.local_conv(grid + attended[:, :, :height, :width])
        tokens = grid.permute(0, 2, 3, 1)
        mixed: torch.Tensor = tokens + self.mlp(tokens)
        return mixed.permute(0, 3, 1, 2).contiguous()


class _WindowAttention(nn.Module):
    """Attention among the tokens of a window, with a learned bias per head and distance.

    The public code keeps a copy of the biases that it renews only in ``eval()``: between loading a
    file and the next ``eval()`` it computes with zeros. Here the biases of the file always count.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (B, window ** 2, C) to the same shape."""
        batch, count, width = tokens.shape
        # In the file, the rows of one head's query, key and value follow each other.
        qkv = self.qkv(self.norm(tokens)).view(batch, count, self.heads, 3, -1)
        query, key, value = qkv.permute(3, 0, 2, 1, 4).unbind()
        bias = self.attention_biases[:, self._distances()].to(query.dtype)
        # With its first axis written out; without, torch takes the slow path on a CPU.
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        merged: torch.Tensor = self.proj(attended.transpose(1, 2).reshape(batch, count, width))
        return merged

    def _distances(self) -> torch.Tensor:
        """Index |dy| * window + |dx| of every pair of tokens, (window ** 2, window ** 2)."""
        axis = torch.arange(self.window, device=self.attention_biases.device)
        apart = (axis[:, None] - axis).abs()
        grid = apart[:, None, :, None] * self.window + apart[None, :, None, :]
        return grid.reshape(self.window**2, self.window**2)


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, EXPANSION * width)
        self.fc2 = nn.Linear(EXPANSION * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.fc2(F.gelu(self.fc1(self.norm(tokens))))
        return mixed
