"""MaskContrast's linear model against torchvision's own DeepLab v3, on random weights."""

import importlib.util

import cv2
import numpy as np
import pytest
import torch
from torchvision.models.segmentation import deeplabv3_resnet50
from uosam.baselines.maskcontrast_linear import load

from tests.golden import picture
from uosam.baselines import maskcontrast, maskcontrast_linear
from uosam.errors import BackendError

HAS_CRF = importlib.util.find_spec("pydensecrf") is not None
SMALL = 64


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21)
    torch.nn.init.normal_(network.classifier[4].weight, std=1.0)
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("linear") / "best_model.pth.tar"
    renamed = {
        key.replace("classifier.", "decoder."): value for key, value in network.state_dict().items()
    }
    torch.save({f"module.{key}": value for key, value in renamed.items()}, path)
    yield path
    path.unlink()  # 160 MB


@pytest.fixture
def small(monkeypatch):
    for module in (maskcontrast, maskcontrast_linear):
        monkeypatch.setattr(module, "SIDE", SMALL)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("hw", [(40, 100), (90, 64), (64, 64)])
def test_equals_deeplab_and_opencv(network, checkpoint, hw):
    image = picture(hw, 5, 16)
    scores = load(checkpoint, device="cpu")(image)
    assert scores.shape == (21, *hw)
    squashed = cv2.resize(image, (SMALL, SMALL), interpolation=cv2.INTER_CUBIC)
    pixels = torch.from_numpy(squashed.transpose(2, 0, 1)[None] / 255.0).float()
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (pixels - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with torch.inference_mode():
        expected = network(pixels)["out"][0].numpy()
    labels = expected.argmax(axis=0).astype(np.uint8)
    published = cv2.resize(labels, hw[::-1], interpolation=cv2.INTER_NEAREST)
    assert (scores.argmax(axis=0) == published).mean() > 0.999
    assert len(np.unique(published)) > 1
    if hw == (64, 64):
        np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.usefixtures("small")
@pytest.mark.skipif(not HAS_CRF, reason="needs pip install 'uosam[crf]'")
def test_the_crf_works_at_the_size_of_the_picture(checkpoint, monkeypatch):
    guides = []
    crf = maskcontrast_linear.dense_crf

    def remember(scores, guide):
        guides.append(guide)
        return crf(scores, guide)

    monkeypatch.setattr(maskcontrast_linear, "dense_crf", remember)
    image = picture((40, 100), 5, 16)
    scores = load(checkpoint, crf=True, device="cpu")(image)
    np.testing.assert_allclose(scores.sum(axis=0), 1, atol=1e-4)
    np.testing.assert_array_equal(guides[0], image[:, :, ::-1])


def test_another_checkpoint_is_refused(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"a.weight": torch.zeros(1)}, path)
    with pytest.raises(BackendError, match=r"lacks the tensor decoder.4.weight, got a.weight"):
        load(path)
