"""Self-supervised vision transformers (DINO and its kin) as torchvision's, from their own files.

The network is the same as torchvision's, under other names. Two things are not: the number of
heads is not stored in a file and must be told, and positions are interpolated by DINO's rule.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.vision_transformer import VisionTransformer

from uosam.backends.weights.state_dict import Tensors, fill, take
from uosam.errors import BackendError

_OFFICIAL_HEADS = {384: 6, 768: 12}  # by channels
_BLOCK = r"encoder.layers.encoder_layer_\1."
_NAMES = (
    (r"cls_token", "class_token"),
    (r"pos_embed", "encoder.pos_embedding"),
    (r"patch_embed\.proj\.(.*)", r"conv_proj.\1"),
    (r"norm\.(.*)", r"encoder.ln.\1"),
    (r"blocks\.(\d+)\.norm([12])\.(.*)", _BLOCK + r"ln_\2.\3"),
    (r"blocks\.(\d+)\.attn\.qkv\.(.*)", _BLOCK + r"self_attention.in_proj_\2"),
    (r"blocks\.(\d+)\.attn\.proj\.(.*)", _BLOCK + r"self_attention.out_proj.\2"),
    (r"blocks\.(\d+)\.mlp\.fc1\.(.*)", _BLOCK + r"mlp.0.\2"),
    (r"blocks\.(\d+)\.mlp\.fc2\.(.*)", _BLOCK + r"mlp.3.\2"),
)
"""Names in the file, and torchvision's for the same tensors."""

_UNUSED = ("head.", "fc.", "mask_token", "decoder")


def build_vit(state: Tensors, path: Path, *, heads: int, side: int) -> VisionTransformer:
    """Build the transformer that a state dict describes, for square inputs of one size.

    Args:
        state: tensors under DINO's names.
        path: where they came from, for error messages.
        heads: of the attention; DINO ViT-S has 6, ViT-B 12. A wrong number fits the file as well
            and gives other features.
        side: of the input in pixels.

    Raises:
        BackendError: tensors are missing or of another shape, or the sizes do not divide.
    """
    width, _, patch, _ = take(state, "patch_embed.proj.weight", path).shape
    depth = 1 + max(
        (int(match[1]) for match in map(re.compile(r"blocks\.(\d+)\.").match, state) if match),
        default=-1,
    )
    if side % patch or width % heads or not depth:
        raise BackendError(
            f"{path} must fit a square of {side} pixels and {heads} heads, got patches of {patch} "
            f"pixels, {width} channels and {depth} blocks"
        )
    renamed = {_rename(key): value for key, value in state.items()}
    renamed["encoder.pos_embedding"] = interpolate_positions(
        take(state, "pos_embed", path), side // patch
    )
    with torch.device("meta"):
        vit = VisionTransformer(
            image_size=side,
            patch_size=patch,
            num_layers=depth,
            num_heads=heads,
            hidden_dim=width,
            mlp_dim=take(state, "blocks.0.mlp.fc1.weight", path).shape[0],
        )
        vit.heads = nn.Identity()
    fill(vit, renamed, path, ignored=_UNUSED)
    return vit


def interpolate_positions(positions: torch.Tensor, cells: int) -> torch.Tensor:
    """Bring (1, 1 + n * n, D) position embeddings to (1, 1 + cells * cells, D).

    DINO interpolates bicubically, without antialiasing, by the scale factor (cells + 0.1) / n and
    not by the size, which shifts the grid a little; timm and torchvision do otherwise.
    """
    count = positions.shape[1] - 1
    old = math.isqrt(count)
    if old == cells:
        return positions
    grid = positions[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    scale = (cells + 0.1) / math.sqrt(count)
    resized = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def patch_features(vit: VisionTransformer, pixels: torch.Tensor) -> torch.Tensor:
    """Map (B, 3, S, S) pixels to (B, D, n, n): the normalised last tokens without the first."""
    grid = vit.conv_proj(pixels)
    tokens = grid.flatten(2).transpose(1, 2)
    first = vit.class_token.expand(len(tokens), -1, -1)
    last: torch.Tensor = vit.encoder(torch.cat([first, tokens], dim=1))
    return last[:, 1:].transpose(1, 2).reshape(grid.shape)


def dino_features(
    state: Tensors, path: Path, side: int, device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Build the features of an official DINO network: 6 heads at 384 channels, 12 at 768.

    Args:
        state: tensors of the backbone, under DINO's names.
        path: for messages.
        side: of the square input, in pixels.
        device: for the network.

    Returns:
        As ``patch_features``, of (b, 3, side, side) pixels.

    Raises:
        BackendError: a tensor is missing or of a wrong shape.
    """
    heads = _OFFICIAL_HEADS.get(take(state, "cls_token", path).shape[-1], 12)
    return partial(patch_features, build_vit(state, path, heads=heads, side=side).to(device))


def _rename(key: str) -> str:
    for pattern, name in _NAMES:
        if re.fullmatch(pattern, key):
            return re.sub(pattern, name, key)
    return key
