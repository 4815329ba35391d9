"""PiCIE against what its public code computed on seeded weights."""

import argparse

import numpy as np
import pytest
import torch
from uosam.baselines.pictures import BILINEAR, centre_start, normalise, resize_short_side
from uosam.baselines.resnet import stages

from tests.golden import agree, close, crc, picture, uss_state
from uosam.baselines import picie
from uosam.errors import BackendError


@pytest.fixture(scope="module")
def golden(shared):
    torch.set_num_threads(1)
    return shared / "golden" / "uss" / "picie"


@pytest.fixture(scope="module")
def path(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("picie") / "picie.pkl"
    content = {
        "epoch": 9,
        "args": argparse.Namespace(arch="resnet18", K_train=27),
        "optimizer": {"state": {}, "param_groups": []},
    }
    for name in ("state_dict", "classifier1_state_dict", "classifier2_state_dict"):
        content[name] = uss_state(golden, container=name)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def test_equals_the_public_code(golden, path):
    expected = np.load(golden / "expected.npz")
    image = picture((300, 421), 51, 30)
    assert crc(image) == expected["input_crc32"][0]
    model = picie.load(path)
    resized = resize_short_side(image, 320, BILINEAR)
    top, left = (centre_start(side, 320) for side in resized.shape[:2])
    square = resized[top : top + 320, left : left + 320]
    pixels = normalise(square, torch.device("cpu"))
    np.testing.assert_allclose(pixels[0, :, ::16, ::16], expected["net_input_sub"], atol=1e-6)
    with torch.inference_mode():
        maps = stages(model.resnet, pixels)
        for name, grid, (channels, cells) in zip(
            ("res2", "res3", "res4", "res5"), maps, [(8, 8), (8, 4), (16, 2), (16, 1)], strict=True
        ):
            close(grid[0, ::channels, ::cells, ::cells].numpy(), expected[f"{name}_sub"])
        features = model.pyramid(maps)
        close(features[0, ::4, ::8, ::8].numpy(), expected["fpn_sub"])
        close(features[0].mean((1, 2)).numpy(), expected["fpn_mean"])
        close(model.logits(features)[0, :, ::4, ::4].numpy(), expected["logits_sub"])
    agree(model.score_square(square).argmax(0), expected["label"])
    second = picie.load(path, classifier=2)
    agree(second.score_square(square).argmax(0), expected["label_classifier2"])


def test_whole_pictures_hold_the_published_square(golden, path):
    """A picture whose short side is 320 is not resized: its centre is the square, to the bit."""
    image = picture((320, 400), 3, 20)
    model = picie.load(path)
    scores = model(image)
    assert scores.shape == (27, 320, 400)
    np.testing.assert_array_equal(scores[:, :, 40:360], model.score_square(image[:, 40:360]))


def test_mdc_has_one_classifier(golden, tmp_path):
    content = {name: uss_state(golden, container=name)
               for name in ("state_dict", "classifier1_state_dict")}  # fmt: skip
    torch.save(content, tmp_path / "mdc.pkl")
    assert picie.load(tmp_path / "mdc.pkl").weight.shape == (27, 128, 1, 1)
    with pytest.raises(BackendError, match="an entry 'classifier2_state_dict', got state_dict, cl"):
        picie.load(tmp_path / "mdc.pkl", classifier=2)
