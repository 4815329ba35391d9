"""Transformers, CAUSE's files and the dense CRF, on small networks and by slow oracles."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from uosam.baselines.dino_vit import build_vit, interpolate_positions, patch_features

from tests.golden import picture
from uosam.baselines import cause, dense_crf
from uosam.errors import BackendError

HAS_CRF = importlib.util.find_spec("pydensecrf") is not None


def small_vit(width=32, patch=8, depth=2, cells=4, seed=0):
    """A small transformer under DINO's names."""
    rng = np.random.default_rng(seed)
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + cells**2, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for i in range(depth):
        for name, shape in {
            "norm1.weight": (width,), "norm1.bias": (width,), "norm2.weight": (width,),
            "norm2.bias": (width,), "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,), "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,), "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,), "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
        }.items():  # fmt: skip
            shapes[f"blocks.{i}.{name}"] = shape
    return {
        key: torch.from_numpy(rng.standard_normal(shape).astype(np.float32) / 4)
        for key, shape in shapes.items()
    }


def test_the_number_of_heads_matters(tmp_path):
    state = small_vit()
    pixels = torch.randn(1, 3, 320, 320)
    with torch.inference_mode():
        results = [
            patch_features(build_vit(state, tmp_path, heads=heads, side=320), pixels)
            for heads in (2, 4)
        ]
    assert results[0].shape == (1, 32, 40, 40)
    assert (results[0] - results[1]).abs().max() > 0.01


def test_transformers_that_do_not_fit(tmp_path):
    with pytest.raises(
        BackendError, match="a square of 320 pixels and 5 heads, got patches of 8 pi"
    ):
        build_vit(small_vit(), tmp_path, heads=5, side=320)
    with pytest.raises(BackendError, match="got patches of 14 pixels, 32 channels and 2 blocks"):
        build_vit(small_vit(patch=14), tmp_path, heads=2, side=320)
    with pytest.raises(BackendError, match=r"lacks the tensor patch_embed.proj.weight, got a"):
        build_vit({"a": torch.ones(1)}, tmp_path, heads=2, side=320)


def cubic_weights(new, old, step):
    """(new, old) weights of Keys' cubic with a = -0.75, looking at steps of the old grid."""
    weights = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * step - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            d = abs(centre - tap)
            near = 1.25 * d**3 - 2.25 * d**2 + 1
            far = -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            weights[i, min(max(tap, 0), old - 1)] += near if d <= 1 else far
    return weights


def test_positions_move_by_the_scale_not_the_size():
    positions = torch.randn(1, 1 + 28**2, 2)
    assert interpolate_positions(positions, 28) is positions
    larger = interpolate_positions(positions, 40)
    assert torch.equal(larger[:, 0], positions[:, 0])
    weights = cubic_weights(40, 28, 28 / 40.1)
    grid = positions[0, 1:].reshape(28, 28, 2).numpy()
    expected = np.einsum("ya,xb,abc->yxc", weights, weights, grid)
    np.testing.assert_allclose(larger[0, 1:].reshape(40, 40, 2), expected, atol=1e-4)


def cause_files(tmp_path, container=lambda state: state, width=32, queries=1600):
    rng = np.random.default_rng(1)

    def normal(*shape):
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32) / 4)

    segment = {"head_ema.query_pos": normal(queries, width)}
    for name in ("self_attn", "multihead_attn"):
        segment[f"head_ema.tr.{name}.in_proj_weight"] = normal(3 * width, width)
        segment[f"head_ema.tr.{name}.in_proj_bias"] = normal(3 * width)
        segment[f"head_ema.tr.{name}.out_proj.weight"] = normal(width, width)
        segment[f"head_ema.tr.{name}.out_proj.bias"] = normal(width)
    shapes = {
        "linear1": (64, width),
        "linear2": (width, 64),
        "f1": (9, width, 1, 1),
        "f2.0": (width, width, 1, 1),
        "f2.2": (9, width, 1, 1),
    }
    for name, shape in shapes.items():
        segment[f"head_ema.tr.{name}.weight"] = normal(*shape)
        segment[f"head_ema.tr.{name}.bias"] = normal(shape[0])
    for i in "123":
        segment[f"head_ema.tr.norm{i}.weight"] = normal(width)
        segment[f"head_ema.tr.norm{i}.bias"] = normal(width)
    paths = [tmp_path / name for name in ("segment_tr.pth", "cluster_tr.pth", "vit.pth")]
    torch.save(segment, paths[0])
    torch.save({"codebook": normal(20, width), "cluster_probe": normal(5, 9)}, paths[1])
    torch.save(container(small_vit()), paths[2])
    return {"path": paths[0], "cluster": paths[1], "backbone": paths[2]}


@pytest.mark.parametrize(
    "container",
    [
        lambda state: {"model": state},
        lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"target_encoder": {f"module.{key}": value for key, value in state.items()}},
    ],
    ids=["MAE", "iBOT", "MSN"],
)
def test_backbones_in_the_containers_of_their_authors(tmp_path, container):
    image = picture((40, 60), 1, 9)
    (tmp_path / "flat").mkdir()
    flat = cause.load(**cause_files(tmp_path / "flat"), heads=2, flip=False)
    inside = cause.load(**cause_files(tmp_path, container), heads=2, flip=False)
    scores = inside(image)
    assert scores.shape == (5, 40, 60)
    np.testing.assert_array_equal(scores, flat(image))


def test_files_of_cause_that_do_not_belong_together(tmp_path):
    text = "needs a backbone of 400 cells and 32 channels, got 1600 and 32 from .*vit.pth; give the"
    with pytest.raises(BackendError, match=text):
        cause.load(**cause_files(tmp_path, queries=400), heads=2)
    files = cause_files(tmp_path)
    with pytest.raises(BackendError, match="lacks the tensor codebook"):
        cause.load(**(files | {"cluster": files["backbone"]}), heads=2)


def test_the_crf_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(
        BackendError, match=r"pydensecrf, which is not installed; get it with pip in"
    ):
        dense_crf.dense_crf(np.zeros((2, 4, 4), np.float32), np.zeros((4, 4, 3), np.uint8))


@pytest.mark.skipif(not HAS_CRF, reason="pydensecrf is not installed")
def test_the_crf_follows_edges(tmp_path):
    guide = np.zeros((20, 30, 3), np.uint8)
    guide[:, 15:] = 200
    likely = np.full((2, 20, 30), 0.3, np.float32)
    likely[0, :, :12] = likely[1, :, 12:] = 0.7
    sharpened = dense_crf.dense_crf(np.log(likely), guide)
    np.testing.assert_allclose(sharpened.sum(0), 1, atol=1e-4)
    assert (sharpened.argmax(0) == (np.arange(30) >= 15)).all()
