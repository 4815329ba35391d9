"""k-means on features of timm models, small ones with random weights."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from uosam.baselines.timm_features import load

from tests.golden import picture
from uosam.baselines import kmeans
from uosam.errors import BackendError, ConfigError

timm = pytest.importorskip("timm", reason="needs pip install 'uosam[timm]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

NAMES = ["resnet10t", "vit_tiny_patch16_224"]


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Networks by name, and the files that they were saved to."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("timm")
    made = {}
    for name in NAMES:
        network = timm.create_model(name, pretrained=False).eval()
        path = folder / f"{name}.pth"
        torch.save(
            {"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, path
        )
        made[name] = network, path
    return made


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_the_model(networks, name):
    network, path = networks[name]
    encoder = load(name, path, device="cpu")
    side = encoder.side
    image = picture((side, side), 3, 20)
    embedding = encoder.embed(image)
    pixels = (image.astype(np.float32) / 255 - encoder.mean) / np.array(encoder.deviation)
    with torch.inference_mode():
        expected = network.forward_features(
            torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float()
        )[0]
    if name.startswith("vit"):
        expected = expected[1:].T.reshape(192, 14, 14)
    np.testing.assert_allclose(embedding.features, expected.numpy(), atol=1e-4)
    other = encoder.embed(picture((50, 90), 3, 20))
    assert other.features.shape == embedding.features.shape
    assert other.extent == other.features.shape[1:]
    assert other.image_hw == (50, 90)


def test_bare_state_dicts_and_safetensors(networks, tmp_path):
    from safetensors.torch import save_file

    network, path = networks["resnet10t"]
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    image = picture((60, 60), 3, 20)
    features = [load("resnet10t", file, device="cpu").embed(image).features
                for file in (path, tmp_path / "bare.pth", tmp_path / "a.safetensors")]  # fmt: skip
    np.testing.assert_array_equal(features[0], features[1])
    np.testing.assert_array_equal(features[0], features[2])


def test_kmeans_takes_a_timm_model(networks, tmp_path):
    paths = []
    for index in range(3):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(picture((60, 80), index, 20)).save(paths[-1])
    score = kmeans.load(
        networks["vit_tiny_patch16_224"][1],
        timm="vit_tiny_patch16_224",
        classes=4,
        pictures=paths,
        save=tmp_path / "centroids.npy",
        device="cpu",
    )
    scores = score(picture((60, 80), 0, 20))
    assert scores.shape == (4, 60, 80)
    assert np.load(tmp_path / "centroids.npy").shape == (4, 192)


def test_refusals(networks, tmp_path):
    path = networks["resnet10t"][1]
    with pytest.raises(BackendError, match="needs its weights, got none; give --checkpoint FILE"):
        load("resnet10t", None)
    with pytest.raises(
        ConfigError, match=r"unknown timm model 'resnet10x'; did you mean resnet10t"
    ):
        load("resnet10x", path)
    with pytest.raises(BackendError, match="checkpoint of another model"):
        load("vit_tiny_patch16_224", path)
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    with pytest.raises(BackendError, match=r"must be a safetensors file, got a damaged"):
        load("resnet10t", tmp_path / "bad.safetensors")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BackendError, match="need the package timm, which is not installed; get it"):
        load("resnet10t", "x")
