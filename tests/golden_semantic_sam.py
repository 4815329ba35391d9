"""Seeded weights and the picture of the golden records of Semantic-SAM, from their description."""

from __future__ import annotations

import csv
import re
import zlib
from pathlib import Path

import numpy as np
import torch

from uosam.backends.semantic_sam.network import SIZES, SemanticSam, Size
from uosam.backends.semantic_sam.swin import relative_index


def read_table(shared: Path, size: str) -> list[dict[str, str]]:
    """Rows of the key table of a size, "t" or "l"."""
    path = shared / "golden" / "semantic_sam" / f"state_dict_keys_{size}.csv"
    with path.open() as file:
        return list(csv.DictReader(file))


def shape_of(row: dict[str, str]) -> tuple[int, ...]:
    return tuple(int(side) for side in row["shape"].split("x") if side)


def seeded(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The value of a float32 key, by its canonical name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    a = rng.standard_normal(shape).astype(np.float32)
    root = np.sqrt(np.float32(np.prod(shape[1:])))
    half = ("pb_embedding.weight", "label_enc.weight", "relative_position_bias_table")
    centred = (
        "pixel_decoder.mask_features.weight",
        *(f"mask_embed.layers.{i}.weight" for i in (1, 2)),
    )
    decoder = "decoder.layers." in name and "encoder.layers." not in name
    if name.endswith(("mask_tokens.weight", "level_embed")):
        pass
    elif name.endswith(half):
        a *= np.float32(0.5)
    elif name.endswith("iou_prediction_head.layers.2.bias"):
        a = np.float32(0.1) * a + np.float32(0.7)
    elif name.endswith("iou_prediction_head.layers.2.weight"):
        a *= np.float32(0.3)
    elif len(shape) == 1:
        norm = "norm" in name or re.search(r"input_proj\.\d\.1\.", name)
        a = np.float32(0.1) * a + np.float32(bool(norm and name.endswith("weight")))
    elif decoder and name.endswith(("self_attn.out_proj.weight", "linear2.weight")):
        a = np.float32(0.25) * a / root
    elif decoder and name.endswith("cross_attn.output_proj.weight"):
        a = np.float32(0.75) * a / root
    elif name.endswith(centred):
        a = (a - a.mean(axis=1, keepdims=True)) / root
    else:
        a = a / root
    return torch.from_numpy(np.asarray(a, np.float32))


def seeded_network(size: str) -> SemanticSam:
    """The network of a size with the values of the records."""
    with torch.device("meta"):
        network = SemanticSam(SIZES[f"semantic_sam_{size}"])
    window = SIZES[f"semantic_sam_{size}"].window
    state = {
        name: relative_index(window)
        if name.endswith("relative_position_index")
        else seeded(name, tuple(value.shape))
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def picture(height: int = 300, width: int = 460) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    red, green = x * 255 // (width - 1), y * 255 // (height - 1)
    return np.stack([red, green, (x // 32 + y // 32) % 2 * 255], -1).astype(np.uint8)


def small_network() -> SemanticSam:
    """A network of few layers with seeded values, quick to build and run."""
    size = Size(width=32, depths=(1, 2, 1, 1), heads=(1, 2, 4, 8), window=4)
    network = SemanticSam(size, encoder_layers=1, decoder_layers=2)
    state = {
        name: value if name.endswith("index") else seeded(name, tuple(value.shape))
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state, strict=True)
    return network.eval().requires_grad_(False)
