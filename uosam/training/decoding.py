"""SAM's mask decoder, batched over pictures and prompts, with gradients.

The package's ``MaskDecoder`` answers prompts about one picture; here every row has a picture of its
own. The weights are the package's; a test holds the answers to the package's own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam

from uosam.backends.sam.tiny import detail_of_cells


def encode_points(sam: Sam, points: torch.Tensor, labels: torch.Tensor, side: int) -> torch.Tensor:
    """Embed points and box corners: (B, N, 2) x, y and (B, N) labels to (B, N, C).

    Args:
        sam: the network.
        points: pixel centres of the crop.
        labels: 1 inside, 0 outside, -1 "not a point", 2 and 3 first and second box corner.
        side: of the crop in pixels; places are relative to it.
    """
    encoder = sam.prompt_encoder
    placed = encoder.pe_layer.forward_with_coords(points + 0.5, (side, side))
    kinds = torch.cat(
        [
            encoder.not_a_point_embed.weight,
            *(embedding.weight for embedding in encoder.point_embeddings),
        ]
    )
    embedded: torch.Tensor = placed * (labels >= 0)[..., None] + kinds[labels + 1]
    return embedded


def decode_rows(
    sam: Sam,
    features: torch.Tensor,
    places: torch.Tensor,
    sparse: torch.Tensor,
    masks: torch.Tensor | None,
    whole: torch.Tensor,
    detail: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Answer one prompt a row.

    Args:
        sam: the network.
        features: (B, C, h, w) embedding of each row's crop.
        places: (B, C, h, w) position encoding of the cells.
        sparse: (B, N, C) from ``encode_points``.
        masks: (B, 4h, 4w) mask prompts, or None.
        whole: (B,) bool, whether the mask may be only part of the object; counts with masks only.
        detail: (B, 16 h w, c) from ``show_detail``.

    Returns:
        (B, 4, 4h, 4w) logits: SAM's single output, then its three; and (B, 4) estimates of IoU.
    """
    encoder, decoder = sam.prompt_encoder, sam.mask_decoder
    batch, _, height, width = features.shape
    if masks is None:
        source = features + encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    else:
        source = features + encoder.mask_downscaling(masks[:, None])
        asked = whole[:, None, None, None] * encoder.whole.weight[:, :, None, None]
        source = source + asked.to(source.dtype)
    outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([outputs.expand(batch, -1, -1), sparse], dim=1)
    tokens, cells = decoder.transformer(source, places, tokens)
    count = decoder.num_mask_tokens
    kernels = torch.stack(
        [mlp(tokens[:, 1 + index]) for index, mlp in enumerate(decoder.output_hypernetworks_mlps)],
        dim=1,
    )
    # Its transposed convolutions have stride and size 2: each cell becomes 2 x 2 by one product,
    # and nothing needs to be in picture order before the masks are.
    first, norm, _, second, _ = decoder.output_upscaling
    fine = _split(cells, first)
    fine = F.gelu(F.layer_norm(fine, fine.shape[-1:], norm.weight, norm.bias, norm.eps))
    fine = F.gelu(_split(fine, second).flatten(1, 3) + detail)
    logits = torch.einsum(
        "bmc,bnuvc->bmnuv", kernels, fine.reshape(batch, -1, 4, 4, fine.shape[-1])
    )
    # (cell row, cell column, half row, half column, quarter row, quarter column)
    logits = logits.reshape(batch, count, height, width, 2, 2, 2, 2)
    logits = logits.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(batch, count, 4 * height, 4 * width)
    return logits, decoder.iou_prediction_head(tokens[:, 0])


def show_detail(sam: Sam, encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Part what the encoder returned: (P, C, h, w) features and (P, 16 h w, c) detail."""
    width = sam.mask_decoder.transformer_dim
    detail = sam.mask_decoder.detail(detail_of_cells(encoded[:, width:]))
    return encoded[:, :width], detail


def _split(cells: torch.Tensor, layer: torch.nn.ConvTranspose2d) -> torch.Tensor:
    """Apply a 2 x 2 transposed convolution to (..., C) cells: (..., 4, C')."""
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    assert layer.bias is not None
    split = F.linear(cells, weight, layer.bias.repeat(4))
    return split.reshape(*split.shape[:-1], 4, -1)
