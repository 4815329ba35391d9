"""CAUSE: causal unsupervised semantic segmentation (Kim et al., 2023), with both of its heads.

Three files make a model: a self-supervised ViT, ``segment_{mlp,tr}.pth`` and
``cluster_{mlp,tr}.pth``. The head is recognised by its names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from uosam.backends.device import choose_device
from uosam.backends.weights.restricted_pickle import read_checkpoint
from uosam.backends.weights.state_dict import Tensors, fill, take, tensors
from uosam.errors import BackendError

from .codes import SIDE, CodeHead, CodeModel, build_head, by_cosine, guide_by_dividing
from .dino_vit import build_vit, patch_features

TEMPERATURE = 3.0
HEADS = 12
"""CAUSE builds the DINO backbones with 12 heads, also ViT-S, whose own authors have 6."""

_CONTAINERS = (("model", ""), ("state_dict", "module."), ("target_encoder", "module."))
"""Entries that MAE, iBOT and MSN keep their weights in, and what names may begin with there."""


def load(
    path: str | Path,
    *,
    cluster: str | Path,
    backbone: str | Path,
    heads: int = HEADS,
    flip: bool = True,
    crf: bool = False,
    device: str = "auto",
) -> CodeModel:
    """Load a CAUSE model from its three files.

    Args:
        path: ``segment_mlp.pth`` or ``segment_tr.pth``; its slowly moving ``head_ema`` counts.
        cluster: ``cluster_mlp.pth`` or ``cluster_tr.pth``; ``modular.npy`` is not needed.
        backbone: the ViT the head was trained on, such as ``dino_vit_small_8.pth``.
        heads: of the attention of the backbone. Published models on DINO were trained with 12;
            6 fits ViT-S as well and changes half of the labels. MSN small has 6.
        flip: average with the mirrored picture, as published.
        crf: sharpen with the dense CRF, as published; needs pydensecrf.
        device: "auto" or a torch device.

    Returns:
        A function from (H, W, 3) RGB to (K, H, W) scores; every channel is a cluster, from 0. For
        models of PASCAL VOC one of the clusters is the background, but which is not known.

    Raises:
        BackendError: a file is missing, damaged or of another model, or the files do not belong
            together.
    """
    path, cluster, backbone = Path(path), Path(cluster), Path(backbone)
    segment = tensors(read_checkpoint(path), path, prefix="head_ema.")
    centres = tensors(read_checkpoint(cluster), cluster)
    where = choose_device(device)
    vit = build_vit(read_backbone(backbone), backbone, heads=heads, side=SIDE).to(where)
    head = build_cause_head(segment, path, take(centres, "codebook", cluster))
    tokens, width = vit.encoder.pos_embedding.shape[1] - 1, vit.hidden_dim
    _check_sizes(head, tokens, width, path, backbone)
    return CodeModel(
        features=partial(patch_features, vit),
        head=head.to(where),
        classify=by_cosine(take(centres, "cluster_probe", cluster).to(where), TEMPERATURE),
        flip=flip,
        guide=guide_by_dividing if crf else None,
        device=where,
    )


def read_backbone(path: Path) -> Tensors:
    """Read a ViT from any of the containers its authors use.

    Raises:
        BackendError: the file is missing or damaged, or holds no tensors.
    """
    content: Any = read_checkpoint(path)
    for name, prefix in _CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            inner = content[name]
            wrapped = any(str(key).startswith(prefix) for key in inner)
            return tensors(inner, path, prefix=prefix if wrapped else "")
    return tensors(content, path)


def build_cause_head(state: Tensors, path: Path, codebook: torch.Tensor) -> nn.Module:
    """Build the head that the names in a state dict describe.

    Raises:
        BackendError: tensors are missing or of another shape.
    """
    if "query_pos" not in state:
        return build_head(state, path, ("f1", "f2"), nn.ReLU())
    queries, width = state["query_pos"].shape
    inner = take(state, "tr.linear1.weight", path).shape[0]
    code = build_head(state, path, ("tr.f1", "tr.f2"), nn.ReLU())
    with torch.device("meta"):
        head = TransformerHead(queries, width, inner)
    own = {
        key.removeprefix("tr."): value
        for key, value in state.items()
        if not key.startswith(("tr.f1.", "tr.f2."))
    }
    fill(head, own, path)
    head.code, head.codebook = code, codebook
    return head


class TransformerHead(nn.Module):
    """One layer of a transformer decoder from quantised to actual features, then a code head.

    Attributes:
        query_pos: (n * n, D) learned positions; they fix the number of cells.
        code: from features to codes.
        codebook: (Q, D) the vectors that features are quantised to.
    """

    code: CodeHead
    codebook: torch.Tensor

    def __init__(self, queries: int, width: int, inner: int) -> None:
        super().__init__()
        self.query_pos = nn.Parameter(torch.zeros(queries, width))
        self.self_attn = nn.MultiheadAttention(width, 1, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, 1, batch_first=True)
        self.linear1 = nn.Linear(width, inner)
        self.linear2 = nn.Linear(inner, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, D, n, n) to codes (B, E, n, n)."""
        decoded = self.decode(features.flatten(2).transpose(1, 2))[-1]
        code: torch.Tensor = self.code(decoded.transpose(1, 2).reshape(features.shape) + features)
        return code

    def decode(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Return (B, n * n, D) after each of the three normalisations."""
        content = self.codebook.to(tokens.device)[self.quantise(tokens)]
        query = content + self.query_pos
        first = self.norm1(content + self.self_attn(query, query, content, need_weights=False)[0])
        looked_up = self.multihead_attn(first + self.query_pos, tokens, tokens, need_weights=False)
        second = self.norm2(first + looked_up[0])
        third = self.norm3(second + self.linear2(F.relu(self.linear1(second))))
        return [first, second, third]

    def quantise(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return (B, n * n) the row of the codebook with the highest cosine to each token."""
        rows = F.normalize(self.codebook.to(tokens.device), dim=1)
        nearest: torch.Tensor = (F.normalize(tokens, dim=-1) @ rows.T).argmax(-1)
        return nearest


def _check_sizes(head: nn.Module, tokens: int, width: int, path: Path, backbone: Path) -> None:
    """Refuse a head that was trained on another backbone.

    Raises:
        BackendError: the number of cells or channels differs.
    """
    code: Callable[..., Any] = head.code if isinstance(head, TransformerHead) else head
    channels = code.linear.in_channels  # type: ignore[attr-defined]
    queries = len(head.query_pos) if isinstance(head, TransformerHead) else tokens
    if (queries, channels) != (tokens, width):
        raise BackendError(
            f"{path} needs a backbone of {queries} cells and {channels} channels, got {tokens} "
            f"and {width} from {backbone}; give the backbone it was trained on"
        )
