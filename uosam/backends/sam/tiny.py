"""The embedded SAM: the package's prompt encoder and mask decoder, narrow, over an encoder of ours.

The encoder is EfficientNet-Lite0 (see ``lite0``) with global attention (Vaswani et al.,
2017) on its coarsest grid and a top-down path to stride 8 (Lin et al., "Feature pyramid networks",
2017). SAM's own grid has stride 16; at a fifteenth of SAM's weights the decoder has to be told
where edges are, not to remember it. For the same reason it is shown features of stride 2 where it
draws the masks, as SAM 2 does (Ravi et al., 2024).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from uosam.backends.sam.lite0 import CHANNELS, PIXEL_MEAN, PIXEL_STD, Lite0

SIDE = 512
"""Pixels along the square a picture is fitted into."""

STRIDE = 8
"""Pixels to a cell of the embedding."""

WIDTH = 128
"""Channels of the embedding and of the decoder."""

DETAIL = 8
"""Channels of the features at stride 2; 4 x 4 of them lie in a cell, behind its ``WIDTH``."""

_TOP = 192  # channels of the coarsest grid
_ATTENTION_BLOCKS = 3
_HEADS = 4


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=False), nn.BatchNorm2d(outputs)
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
    """Image encoder of the ``tiny`` model: (B, 3, h, w) to (B, 128 + 128, h / 8, w / 8).

    The first ``WIDTH`` channels are the embedding; the others are ``DETAIL`` channels at stride 2,
    4 x 4 places to a cell. ``h`` and ``w`` are multiples of 32; the network's own square is
    ``img_size``, training takes smaller crops of it.
    """

    def __init__(self, img_size: int = SIDE, width: int = WIDTH) -> None:
        super().__init__()
        self.img_size = img_size
        self.backbone = Lite0()
        half, quarter, eighth, sixteenth, last = CHANNELS
        self.narrow = _conv(last, _TOP, 1)
        self.attention = nn.Sequential(
            *(_Attention(_TOP, _HEADS) for _ in range(_ATTENTION_BLOCKS))
        )
        # Strides 2 and 4 keep their detail: 4 x 4 and 2 x 2 cells become channels of one.
        self.finest = nn.Sequential(_conv(half, 8, 1), nn.PixelUnshuffle(4))
        self.fine = nn.Sequential(_conv(quarter, 32, 1), nn.PixelUnshuffle(2))
        self.lateral = nn.ModuleList(
            [_conv(eighth + 4 * 32 + 16 * 8, width, 1), _conv(sixteenth, width, 1)]
        )
        self.top = nn.Conv2d(_TOP, width, 1)
        self.merge = nn.Sequential(_conv(width, width), nn.ReLU(), _Residual(width))
        self.smooth = nn.Sequential(_Residual(width), _conv(width, width))
        self.detail = nn.Sequential(_conv(half, DETAIL, 3), nn.PixelUnshuffle(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode (B, 3, h, w) normalised pictures."""
        half, quarter, eighth, sixteenth, last = self.backbone(x)
        top = self.top(self.attention(self.narrow(last)))
        top = self.lateral[1](sixteenth) + F.interpolate(top, scale_factor=2, mode="nearest")
        top = self.merge(F.relu(top))
        top = F.interpolate(top, scale_factor=2, mode="nearest")
        fine = self.lateral[0](torch.cat([eighth, self.fine(quarter), self.finest(half)], 1))
        features: torch.Tensor = self.smooth(F.relu(fine + top))
        return torch.cat([features, self.detail(half)], 1)


class TinyPromptEncoder(PromptEncoder):  # type: ignore[misc]
    """The package's prompt encoder, and how to ask for a whole object.

    ``whole`` holds the vector that is added to a mask prompt which may be only part of the object,
    or too large: the answer is the whole object that it points at, not its own shape redrawn.
    """

    def __init__(self) -> None:
        grid = SIDE // STRIDE
        super().__init__(
            embed_dim=WIDTH,
            image_embedding_size=(grid, grid),
            input_image_size=(SIDE, SIDE),
            mask_in_chans=16,
        )
        self.whole = nn.Embedding(1, WIDTH)


class TinyDecoder(MaskDecoder):  # type: ignore[misc]
    """The package's mask decoder, with the encoder's features of stride 2 in its last layer."""

    def __init__(self) -> None:
        super().__init__(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=WIDTH, num_heads=_HEADS, mlp_dim=4 * WIDTH
            ),
            transformer_dim=WIDTH,
            iou_head_depth=3,
            iou_head_hidden_dim=WIDTH,
        )
        self.detail = nn.Linear(DETAIL, WIDTH // 8)

    def predict_masks(
        self,
        image_embeddings: torch.Tensor,
        image_pe: torch.Tensor,
        sparse_prompt_embeddings: torch.Tensor,
        dense_prompt_embeddings: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Answer B prompts about one picture, step by step as the package does.

        Args:
            image_embeddings: (1, WIDTH + 16 * DETAIL, h, w) from the encoder.
            image_pe: (1, WIDTH, h, w).
            sparse_prompt_embeddings: (B, n, WIDTH).
            dense_prompt_embeddings: (B, WIDTH, h, w).

        Returns:
            (B, 4, 4h, 4w) logits and (B, 4) estimates of IoU.
        """
        rows, _, height, width = dense_prompt_embeddings.shape
        features, detail = image_embeddings[:, :WIDTH], image_embeddings[:, WIDTH:]
        outputs = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([outputs.expand(rows, -1, -1), sparse_prompt_embeddings], dim=1)
        tokens, cells = self.transformer(
            features + dense_prompt_embeddings, image_pe.expand(rows, -1, -1, -1), tokens
        )
        first, norm, act1, second, act2 = self.output_upscaling
        grid = cells.mT.reshape(rows, WIDTH, height, width)
        shown = self.detail(F.pixel_shuffle(detail, STRIDE // 2).movedim(1, -1)).movedim(-1, 1)
        fine = act2(second(act1(norm(first(grid)))) + shown)
        kernels = torch.stack(
            [mlp(tokens[:, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )
        masks = torch.einsum("bmc,bchw->bmhw", kernels, fine)
        return masks, self.iou_prediction_head(tokens[:, 0])


def detail_of_cells(detail: torch.Tensor) -> torch.Tensor:
    """Bring the encoder's last channels into the order in which cells are upscaled.

    Args:
        detail: (B, 16 * DETAIL, h, w).

    Returns:
        (B, 16 h w, DETAIL): cells by row, then the quarters of a cell, then theirs.
    """
    rows, _, height, width = detail.shape
    # (channel, half row, quarter row, half column, quarter column) lie in a cell.
    split = detail.view(rows, DETAIL, 2, 2, 2, 2, height, width)
    return split.permute(0, 6, 7, 2, 4, 3, 5, 1).reshape(rows, -1, DETAIL)


def build_sam_tiny() -> Sam:
    """Build the embedded SAM without weights: 6 million parameters, 512-pixel square."""
    return Sam(
        image_encoder=TinyEncoder(),
        prompt_encoder=TinyPromptEncoder(),
        mask_decoder=TinyDecoder(),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    )
