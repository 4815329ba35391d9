"""Seeded weights and synthetic pictures of the golden runs, from their written description."""

import csv
import zlib
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=1)
def noise(key, shape):
    """Standard normal float32 values that depend on the name alone; read them, never write."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    return rng.standard_normal(shape).astype(np.float32)


def plain_rule(key, shape):
    """The value of a floating key without an exception of its own."""
    values = noise(key, shape)
    if key.endswith("running_var"):
        return np.abs(values) * 0.5 + 0.5
    if key.endswith("running_mean"):
        return values * 0.1
    if len(shape) <= 1:
        return values * 0.1 + float("weight" in key)
    return values / np.sqrt(np.prod(shape[1:]))


def read_keys(path):
    """Rows of a state_dict_keys.csv with ``shape`` as a tuple."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["shape"] = tuple(int(side) for side in row["shape"].split("x") if side)
    return rows


def picture(hw, seed, cell):
    """The synthetic picture of a size, a seed and a cell size."""
    height, width = hw
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // cell), -(-width // cell), 3))
    cells = np.repeat(np.repeat(coarse, cell, axis=0), cell, axis=1)[:height, :width]
    y, x = np.mgrid[:height, :width]
    ramp = np.stack(
        [
            x * 255 // (width - 1),
            y * 255 // (height - 1),
            (x + y) * 255 // (width + height - 2),
        ],
        axis=-1,
    )
    return ((3 * cells + ramp) // 4).astype(np.uint8)


def crc(image):
    return zlib.crc32(np.ascontiguousarray(image).tobytes())


def uss_value(model, key, shape):
    """The value of a floating key of a USS model: the plain rule, or the model's exception."""
    values, n = plain_rule(key, shape), noise(key, shape)
    vit = model in ("cause_mlp", "cause_tr", "stego", "smooseg")
    if model == "pass_finetuned" and key == "module.last_layer.weight":
        values = values - values.mean(axis=1, keepdims=True)
    elif model == "pass_finetuned" and key == "module.last_layer.bias":
        values[0] += 3
        values[1] -= 2
    elif model == "pass_pixelatt":
        scale = {"module.fbg.atten.0.weight": 64, "module.fbg.atten.3.weight": 2}
        values = values * scale.get(key, 1)
        if key == "module.fbg.threshold":
            values = n * 0.1 - 1.25
        if key == "centroids":
            values = n - n.mean(axis=1, keepdims=True)
    elif vit and key.endswith(("pos_embed", "cls_token")):
        values = n * 0.5
    elif vit and key.endswith("patch_embed.proj.weight"):
        values = values * 4
    elif vit and key.endswith("attn.qkv.weight"):
        values = values * 1.5
    elif key.endswith("query_pos"):
        values = n * 0.2
    elif vit and (key in ("codebook", "cluster_probe") or key.endswith("clusters")):
        values = n
    elif model == "picie" and key.startswith("module.decoder.layer") and key.endswith("weight"):
        factor = {"4": 2, "3": 1, "2": 0.5, "1": 0.5}[key.split(".")[2][-1]]
        values = (values - values.mean(axis=1, keepdims=True)) * factor
    elif model == "picie" and key.startswith("classifier"):
        row = np.arange(shape[0]) % 3
        values = n * 0.08 * (0.8 + 0.2 * row.reshape(-1, *[1] * (len(shape) - 1)))
        if key.endswith("bias"):
            values = np.zeros(shape)
    elif model == "maskcontrast" and len(shape) == 4:
        values = (values - values.mean(axis=(1, 2, 3), keepdims=True)) * 1.2
        if key.endswith("classification_head.weight"):
            values = values * 3
    return np.asarray(values, np.float32)


def uss_state(folder, file=None, container=None):
    """Seeded tensors of one file and container of a USS model, by name on disk."""
    import torch

    state = {}
    for row in read_keys(folder / "state_dict_keys.csv"):
        if (file and row["file"] != file) or (container and row["container"] != container):
            continue
        key, shape = row["key"], row["shape"]
        # Both classifiers of PiCIE have the same names; their values have the container's too.
        name = f"{container}.{key}" if (container or "").startswith("classifier") else key
        # The key encoder of MaskContrast is never used; a quarter of a gigabyte of noise for it is
        # not worth its time.
        state[key] = (
            torch.zeros(shape, dtype=torch.int64 if row["dtype"] == "int64" else torch.float32)
            if row["dtype"] == "int64" or ".model_k." in key
            else torch.from_numpy(uss_value(folder.name, name, shape))
        )
    return state


def close(actual, expected, factor=1e-3):
    """Within a fraction of the deviation of the expected array."""
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=factor * expected.std())


def agree(actual, expected, share=0.999):
    """At least this share of the pixels has the same label."""
    assert actual.shape == expected.shape
    assert (actual == expected).mean() >= share
