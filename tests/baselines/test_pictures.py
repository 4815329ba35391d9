import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from uosam.baselines.pictures import (
    BILINEAR,
    NEAREST,
    normalise,
    resize_short_side,
    score_by_squares,
    square_starts,
)


def picture(hw):
    return np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)


@pytest.mark.parametrize("hw", [(203, 317), (317, 203), (64, 64), (1, 3)])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(NEAREST, transforms.InterpolationMode.NEAREST),
     (BILINEAR, transforms.InterpolationMode.BILINEAR)],
    ids=["nearest", "bilinear"],
)  # fmt: skip
def test_equals_torchvision(hw, ours, theirs):
    """The published programs resize, convert and normalise with torchvision's transforms."""
    reference = transforms.Compose([
        transforms.Resize(96, theirs),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    actual = normalise(resize_short_side(picture(hw), 96, ours), torch.device("cpu"))
    torch.testing.assert_close(actual[0], reference(Image.fromarray(picture(hw))))


@pytest.mark.parametrize("length", [320, 321, 400, 640, 641, 960, 1500])
def test_squares_cover_everything_and_begin_in_the_centre(length):
    starts = square_starts(length, 320)
    assert starts[0] == transforms_centre(length)
    covered = np.zeros(length, bool)
    for start in starts:
        assert 0 <= start <= length - 320
        covered[start : start + 320] = True
    assert covered.all()
    assert len(starts) == len(set(starts))


def transforms_centre(length):
    """Where torchvision's own centre crop begins."""
    columns = torch.arange(length).expand(1, 320, length)
    return int(transforms.CenterCrop(320)(columns)[0, 0, 0])


@pytest.mark.parametrize("hw", [(32, 75), (75, 32), (32, 32), (16, 200), (64, 80)])
def test_the_centre_square_is_scored_as_published(hw):
    """A score that knows its square: the sum of its own corner, times one channel per kind."""
    image = picture(hw)

    def score(square):
        assert square.shape == (32, 32, 3)
        values = square.astype(np.float32)
        return np.stack([values[..., 0], np.full((32, 32), values.sum())])

    scores = score_by_squares(image, score, resample=NEAREST, side=32)
    assert scores.shape == (2, *hw)
    assert scores.dtype == np.float32
    if min(hw) == 32:
        # Nothing was resized: channel 0 is the picture itself wherever the squares came from.
        np.testing.assert_array_equal(scores[0], image[..., 0])
        top, left = (round((side - 32) / 2) for side in hw)
        centre = image[top : top + 32, left : left + 32].astype(np.float32).sum()
        inside = scores[1, top : top + 32, left : left + 32]
        np.testing.assert_array_equal(inside, np.full((32, 32), centre))
