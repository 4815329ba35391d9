"""HP: the tensors of a STEGO in another container must score as STEGO does without its flip."""

import numpy as np
import pytest
import torch

from tests.golden import picture
from uosam.backends.weights.state_dict import tensors
from uosam.baselines import hp, stego
from uosam.errors import BackendError

WIDTH, CODE, CLASSES = 24, 8, 5


def vit_state(generator):
    def noise(*shape):
        return torch.randn(shape, generator=generator) * 0.3

    state = {
        "cls_token": noise(1, 1, WIDTH),
        "pos_embed": noise(1, 101, WIDTH),
        "patch_embed.proj.weight": noise(WIDTH, 3, 32, 32),
        "patch_embed.proj.bias": noise(WIDTH),
        "norm.weight": 1 + noise(WIDTH),
        "norm.bias": noise(WIDTH),
    }
    shapes = {"norm1": (WIDTH,), "norm2": (WIDTH,), "attn.qkv": (3 * WIDTH, WIDTH),
              "attn.proj": (WIDTH, WIDTH), "mlp.fc1": (4 * WIDTH, WIDTH),
              "mlp.fc2": (WIDTH, 4 * WIDTH)}  # fmt: skip
    for name, shape in shapes.items():
        state[f"blocks.0.{name}.weight"] = noise(*shape) + float(len(shape) == 1)
        state[f"blocks.0.{name}.bias"] = noise(shape[0])
    return state


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same tensors as STEGO stores them and as HP does."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("hp")
    generator = torch.Generator().manual_seed(0)
    vit = vit_state(generator)
    head = {}
    for name, inputs, outputs in (("cluster1.0", WIDTH, CODE), ("cluster2.0", WIDTH, WIDTH),
                                  ("cluster2.2", WIDTH, CODE)):  # fmt: skip
        head[f"{name}.weight"] = torch.randn(outputs, inputs, 1, 1, generator=generator)
        head[f"{name}.bias"] = torch.randn(outputs, generator=generator)
    clusters = torch.randn(CLASSES, CODE, generator=generator)
    net = {f"model.{key}": value for key, value in vit.items()} | head
    lightning = {f"net.{key}": value for key, value in net.items()}
    torch.save(
        {"state_dict": lightning | {"cluster_probe.clusters": clusters}}, folder / "stego.ckpt"
    )
    averages = {f"ema_model1.{key}": torch.zeros_like(value) for key, value in net.items()}
    torch.save(
        {
            "net_model_state_dict": net | averages,
            "linear_model_state_dict": {"weight": clusters[..., None, None]},
            "cluster_model_state_dict": {"clusters": clusters},
        },
        folder / "ckpt.pth",
    )
    return folder


def test_scores_are_those_of_stego_without_the_flip(files):
    image = picture((200, 260), 7, 20)
    expected = stego.load(files / "stego.ckpt", flip=False, device="cpu")(image)
    scores = hp.load(files / "ckpt.pth", device="cpu")(image)
    assert scores.shape == (CLASSES, 200, 260)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert len(np.unique(scores.argmax(axis=0))) > 1
    flipped = stego.load(files / "stego.ckpt", device="cpu")(image)
    assert not np.allclose(scores, flipped, atol=1e-3)


def test_the_crf_is_asked_for(files):
    assert hp.load(files / "ckpt.pth").guide is None
    assert hp.load(files / "ckpt.pth", crf=True).guide is not None


def test_another_checkpoint_is_refused(files):
    with pytest.raises(BackendError, match="with an entry 'net_model_state_dict', got state_dict"):
        hp.load(files / "stego.ckpt")


def test_prefixes_do_not_take_the_averages():
    state = {"model.a": torch.zeros(1), "ema_model1.a": torch.ones(1)}
    assert tensors(state, "x", prefix="model.").keys() == {"a"}
