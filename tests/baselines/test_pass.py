"""PASS against what its public programs computed on seeded weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from uosam.baselines.pass_ import SOFTNESS, load
from uosam.baselines.pictures import BILINEAR, enlarge, normalise, resize_short_side
from uosam.baselines.resnet import stages

from tests.golden import agree, close, crc, picture, uss_state
from uosam.errors import BackendError, ConfigError, InputError


def save(state, path, zipped=True):
    """The file as training left it: a NumPy scalar in the optimizer makes plain loading fail."""
    optimizer = {"state": {}, "param_groups": [{"lr": np.float64(0.1), "params": [0]}]}
    content = {
        "epoch": 9,
        "state_dict": state,
        "optimizer": optimizer,
        "amp": {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 3}},
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.fixture(scope="module")
def finetuned(shared, tmp_path_factory):
    torch.set_num_threads(1)
    folder = shared / "golden" / "uss" / "pass_finetuned"
    path = tmp_path_factory.mktemp("pass") / "pass50_finetuning.pth.tar"
    return load(save(uss_state(folder), path)), np.load(folder / "expected.npz")


@pytest.fixture(scope="module")
def attention_files(shared, tmp_path_factory):
    folder = shared / "golden" / "uss" / "pass_pixelatt"
    state = uss_state(folder, container="state_dict")
    path = tmp_path_factory.mktemp("pass") / "pass50_pixelatt.pth.tar"
    centroids = path.with_name("centroids.npy")
    np.save(centroids, uss_state(folder, file="pass50_centroids.npy")["centroids"].numpy())
    return save(state, path, zipped=False), centroids, np.load(folder / "expected.npz")


def test_finetuned_equals_the_public_program(finetuned):
    model, expected = finetuned
    image = picture((203, 317), 11, 24)
    assert crc(image) == expected["input_crc32"][0]
    pixels = normalise(resize_short_side(image, 256, BILINEAR), torch.device("cpu"))
    assert pixels.shape == tuple(expected["net_input_shape"])
    np.testing.assert_allclose(pixels[0, :, ::16, ::16], expected["net_input_sub"], atol=1e-6)
    with torch.inference_mode():
        stage4 = stages(model.resnet, pixels)[-1][0].numpy()
        logits = model.logits(pixels)
    close(stage4[::8], expected["stage4_sub"])
    close(stage4.mean((1, 2)), expected["stage4_mean"])
    close(logits[0].numpy(), expected["logits"])
    scores = model(image)
    assert scores.shape == (51, 203, 317)
    assert scores.dtype == np.float32
    close(scores[:, ::16, ::16], expected["logits_up_sub"])
    agree(scores.argmax(0), expected["label"])
    assert len(np.unique(scores.argmax(0))) > 3


def test_finetuned_limits_the_height_of_large_pictures(finetuned):
    model, expected = finetuned
    image = picture((900, 1400), 12, 70)
    assert crc(image) == expected["input_crc32"][1]
    pixels = normalise(resize_short_side(image, 256, BILINEAR), torch.device("cpu"))
    assert pixels.shape == tuple(expected["net_input_big_shape"])
    with torch.inference_mode():
        close(model.logits(pixels)[0, ::4].numpy(), expected["logits_big_sub"])
    agree(model(image).argmax(0), expected["label_big"])


def test_pixel_attention_equals_the_public_program(attention_files):
    path, centroids, expected = attention_files
    model = load(path, centroids=centroids)
    assert model.threshold == 0.41
    image = picture((230, 171), 13, 24)
    assert crc(image) == expected["input_crc32"][0]
    pixels = normalise(resize_short_side(image, 256, BILINEAR), torch.device("cpu"))
    assert pixels.shape == tuple(expected["net_input_shape"])
    np.testing.assert_allclose(pixels[0, :, ::16, ::16], expected["net_input_sub"], atol=1e-6)
    with torch.inference_mode():
        close(stages(model.resnet, pixels)[-1][0, ::8].numpy(), expected["stage4_sub"])
        features = model.features(pixels)
        attention = model.attend(features)
        mask = attention.mean(1, keepdim=True)
        cosine = model.cosine(features)
    close(features[0, ::16, ::4, ::4].numpy(), expected["up4_sub"])
    close(attention[0, ::16, ::4, ::4].numpy(), expected["attention_sub"])
    close(mask[0, 0].numpy(), expected["mask_x4"])
    close(enlarge(mask, image.shape[:2])[0], expected["mask_full"])
    close(cosine[0, :, ::2, ::2].numpy(), expected["cosine_sub"])
    scores = model(image)
    close(0.41 - scores[0] * SOFTNESS, expected["mask_full"])
    agree(scores.argmax(0), expected["label_t041"])
    assert 0.1 < (expected["label_t041"] == 0).mean() < 0.9
    everything = load(path, centroids=centroids, threshold=0)(image)
    agree(everything.argmax(0), expected["label_no_threshold"])
    close(model.embedding(image), expected["cluster_embedding_unnormalised"])


def test_a_pixel_at_the_threshold_is_foreground(attention_files):
    path, centroids, expected = attention_files
    limit = float(expected["mask_full"][100, 100])
    scores = load(path, centroids=centroids, threshold=limit)(picture((230, 171), 13, 24))
    at_limit = expected["mask_full"] == np.float32(limit)
    # Both sides of the comparison may be off by a rounding here, never by more.
    assert (scores.argmax(0)[expected["mask_full"] > limit + 1e-4] > 0).all()
    assert (scores.argmax(0)[expected["mask_full"] < limit - 1e-4] == 0).all()
    assert at_limit.any()


def test_what_is_missing_is_said(attention_files, tmp_path):
    path, centroids, _ = attention_files
    with pytest.raises(
        ConfigError, match="pixel-attention checkpoint, which needs centroids; give"
    ):
        load(path)
    with pytest.raises(ConfigError, match=r"threshold must be in \[0, 1\], got 41; it is compared"):
        load(path, centroids=centroids, threshold=41)
    with pytest.raises(BackendError, match=r"must be the .npy file of centroids, got FileNotFound"):
        load(path, centroids=tmp_path / "no.npy")
    other = tmp_path / "other.npy"
    np.save(other, np.ones((7, 512), np.float32))
    with pytest.raises(
        ConfigError, match=r"threshold must be given for 7 classes; published are 0"
    ):
        load(path, centroids=other)
    np.save(other, np.ones((7, 2048), np.float32))
    with pytest.raises(BackendError, match=r"must be \(C, 512\) centroids, got \(7, 2048\)"):
        load(path, centroids=other)


def test_checkpoints_without_labels(finetuned, shared, tmp_path):
    folder = shared / "golden" / "uss" / "pass_finetuned"
    state = uss_state(folder)
    pretrained = {key: value for key, value in state.items() if "last_layer" not in key}
    with pytest.raises(BackendError, match=r"got neither module.last_layer nor module.fbg; a pret"):
        load(save(pretrained, tmp_path / "file.pth"))
    cut = {key: value for key, value in state.items() if key != "module.layer3.0.bn2.weight"}
    with pytest.raises(BackendError, match=r"lacks 1 of 120 tensors: layer3.0.bn2.weight; it is"):
        load(save(cut, tmp_path / "file.pth"))
    bias = {key: value for key, value in state.items() if key != "module.last_layer.bias"}
    with pytest.raises(BackendError, match="lacks 1 of 2 tensors: bias"):
        load(save(bias, tmp_path / "file.pth"))


def test_refuses_what_is_no_picture(finetuned):
    with pytest.raises(InputError, match=r"a picture must be \(H, W, 3\) uint8 RGB with at least"):
        finetuned[0](np.zeros((5, 5), np.uint8))


def test_resnet50_is_recognised(tmp_path):
    from torchvision.models import resnet50

    torch.manual_seed(0)
    network = resnet50()
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    state |= {"module.last_layer.weight": torch.randn(301, 2048, 1, 1),
              "module.last_layer.bias": torch.zeros(301)}  # fmt: skip
    model = load(save(state, tmp_path / "file.pth"))
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = F.conv2d(
            torch.nn.Sequential(*list(network.eval().children())[:-2])(pixels),
            state["module.last_layer.weight"],
        )
        torch.testing.assert_close(model.logits(pixels), expected)
