"""The parts of teaching, beside plain sums."""

import numpy as np
import pytest
import torch

from uosam.backends.student.network import SHARPNESS, Decoder, blank_encoder
from uosam.errors import ConfigError
from uosam.structures import IGNORE
from uosam.training.student.lessons import (
    Lesson,
    class_shares,
    hold_back,
    leave_band,
    make_lesson,
)
from uosam.training.student.objective import (
    consistency_loss,
    lesson_loss,
    soften,
    update_confusion,
)
from uosam.training.student.options import StudentOptions
from uosam.training.student.views import Views, class_means


def test_a_band_is_left_out_but_no_id_is_lost():
    labels = np.zeros((9, 9), np.int32)
    labels[:, 5:] = 1
    labels[4, 1] = 7  # one cell only
    left = leave_band(labels, 1)
    assert (left[:, 4:6] == IGNORE).all()
    assert (left[0, :4] == 0).all()
    assert (left[:, 6:] == 1).all()
    assert left[4, 1] == 7
    assert left[3, 1] == IGNORE
    np.testing.assert_array_equal(leave_band(labels, 0), labels)


def test_a_lesson_has_a_cell_for_four_pixels():
    image = np.zeros((100, 200, 3), np.uint8)
    labels = np.repeat(np.arange(2, dtype=np.int32), 100)[None].repeat(100, 0)
    labels[:10] = IGNORE
    lesson = make_lesson("a", image, labels, np.full((100, 200), 0.5, np.float32), side=128, band=1)
    assert lesson.image.shape == (64, 128, 3)
    assert lesson.labels.shape == lesson.weights.shape == (16, 32)
    assert set(np.unique(lesson.labels)) == {IGNORE, 0, 1}
    assert (lesson.labels[0] == IGNORE).all()
    np.testing.assert_allclose(lesson.weights, 0.5, rtol=1e-6)
    assert class_shares([lesson], 3).tolist() == [0.5, 0.5, 0]


def test_pictures_held_back_are_few_and_always_the_same():
    assert hold_back(9, 0.5, 0) == (list(range(9)), list(range(9)))
    taught, asked = hold_back(30, 0.1, 3)
    assert (taught, asked) == hold_back(30, 0.1, 3) != hold_back(30, 0.1, 4)
    assert len(asked) == 3
    assert not set(taught) & set(asked)


def test_the_loss_is_the_weighted_sum_over_cells():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    labels = rng.integers(-1, 3, (2, 4, 5))
    weights = rng.random((2, 4, 5)).astype(np.float32)
    balance = np.array([1, 2, 0.5], np.float32)
    confusion = np.array([[0.8, 0.1, 0.1], [0.3, 0.7, 0], [0, 0, 1]], np.float32)
    top = total = 0.0
    for p, y, x in zip(*np.nonzero(labels >= 0), strict=True):
        label = labels[p, y, x]
        target = 0.9 * np.eye(3)[label] + 0.1 * confusion[label]
        row = logits[p, :, y, x]
        cross = -(target * (row - np.log(np.exp(row).sum()))).sum()
        top += weights[p, y, x] * balance[label] * cross
        total += weights[p, y, x] * balance[label]
    tensors = [torch.from_numpy(v) for v in (logits, labels, weights)]
    options = {"balance": torch.from_numpy(balance), "confusion": torch.from_numpy(confusion)}
    found = lesson_loss(*tensors, **options, smoothing=0.1)
    assert found.item() == pytest.approx(top / total, rel=1e-5)
    nothing = torch.full((2, 4, 5), IGNORE)
    assert lesson_loss(tensors[0], nothing, tensors[2], **options, smoothing=0.1).item() == 0
    soft = soften(tensors[1], options["confusion"], 0.1)
    np.testing.assert_allclose(soft.sum(dim=1), 1, atol=1e-6)


def test_confusion_is_what_the_teacher_says_of_a_label():
    labels = torch.tensor([[[0, 0, 2, IGNORE]]])
    said = torch.tensor([[0.5, 0.5, 0], [0.7, 0.1, 0.2], [0, 1, 0], [0, 0, 1]])
    said = said.T.reshape(1, 3, 1, 4)
    moved = update_confusion(torch.eye(3), labels, said, decay=0.5)
    expected = [[0.8, 0.15, 0.05], [0, 1, 0], [0, 0.5, 0.5]]
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_agreeing_with_the_teacher_counts_where_it_is_sure():
    said = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.05, 0.95], [0.1, 0.9]]).T.reshape(1, 2, 1, 4)
    inside = torch.tensor([[[True, True, True, False]]])
    logits = torch.zeros(1, 2, 1, 4)
    loss = consistency_loss(logits, said, inside, 0.8)
    assert loss.item() == pytest.approx(2 * np.log(2) / 3, rel=1e-6)


def test_crops_of_maps_lie_where_the_labels_lie():
    """A picture whose labels follow its brightness: both are cut and mirrored alike."""
    pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")
    columns = np.arange(40, dtype=np.int32)
    image = np.repeat(columns * 6, 4)[None, :, None].repeat(96, 0).repeat(3, 2).astype(np.uint8)
    labels = columns[None].repeat(24, 0)
    weights = np.ones((24, 40), np.float32)
    lesson = Lesson(name="a", image=image, labels=labels, weights=weights)
    options = StudentOptions(side=160, crop=128, finetune=True, pictures=1, start="random")
    views = Views([lesson], blank_encoder(), options)
    for step in range(4):
        batch = views.draw(step)
        pixels = batch.plain[0][0, 0].float()
        cells = pixels.reshape(32, 4, 32, 4).mean(dim=(1, 3))
        known = batch.inside[0]
        off = (cells[known] / 6 - batch.labels[0][known].float()).abs()
        assert off.max() < 2
        assert (batch.labels[0][~known] == IGNORE).all()
    frozen = Views([lesson], blank_encoder(), StudentOptions(side=160, crop=64, pictures=2))
    first = frozen.draw(0)
    assert [tuple(level.shape[1:]) for level in first.plain] == [
        (24, 16, 16),
        (40, 8, 8),
        (112, 4, 4),
        (320, 2, 2),
    ]
    whole = frozen.features(0, 0)[3]
    for crop, mirrored in zip(first.plain[3], first.labels[:, 0, 0] > first.labels[:, 0, -1]):  # noqa: B905
        own = crop.flip(2) if mirrored else crop
        places = [(y, x) for y in range(2) for x in range(4)]
        assert any(np.array_equal(own, whole[:, y : y + 2, x : x + 2]) for y, x in places)


def test_a_decoder_begins_as_the_nearest_class_mean():
    """Beside a plain reading: columns of length 1, their mean by class, and the largest cosine."""
    pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    squares = np.array([[IGNORE, 0, 1], [4, 1, 0], [0, 0, 4]], np.int32)  # 2 and 3 stand nowhere
    labels = squares.repeat(8, 0).repeat(8, 1)
    lesson = Lesson(
        name="a",
        image=rng.integers(0, 255, (96, 96, 3)).astype(np.uint8),
        labels=labels,
        weights=np.ones((24, 24), np.float32),
    )
    views = Views([lesson], blank_encoder(), StudentOptions(side=96, crop=96, views=0))
    means = class_means(views, 5)
    levels = [torch.from_numpy(level)[None].float() for level in views.features(0, 0)]
    deepest = levels[3][0].numpy().reshape(320, -1).T  # a cell for eight by eight labels
    columns = deepest / np.linalg.norm(deepest, axis=1, keepdims=True)
    cells = squares.ravel()
    for label in (0, 1, 4):
        np.testing.assert_allclose(
            means[2][label], columns[cells == label].mean(axis=0), rtol=1e-4, atol=1e-6
        )
    assert not means[2][2:4].any()
    decoder = Decoder(5)
    decoder.begin(means)
    weights = [layer.weight[:, :, 0, 0] for layer in decoder.direct]
    assert torch.cat(weights, dim=1).norm(dim=1)[[0, 1, 4]].tolist() == pytest.approx(
        [SHARPNESS / 3**0.5] * 3, rel=1e-5
    )
    with torch.inference_mode():
        logits = decoder(levels)[0]
    sums = torch.zeros(5, 24, 24)
    for weight, level in zip(weights, levels[1:]):  # noqa: B905
        own = torch.nn.functional.normalize(level[0], dim=0)
        scores = torch.einsum("kc,chw->khw", weight, own)
        sums += torch.nn.functional.interpolate(scores[None], (24, 24), mode="bilinear")[0]
    np.testing.assert_allclose(logits, sums.detach(), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "student.epochs must be at least 1, got 0"),
        ({"side": 100}, "student.side must be a multiple of 32, got 100"),
        ({"band": -1}, "student.band must be at least 0, got -1"),
        ({"sure": 1.5}, r"student.sure must be in \[0, 1\], got 1.5"),
        ({"drop": 1.0}, r"student.drop must be in \[0, 1\), got 1.0"),
        ({"learning_rate": 0.0}, "student.learning_rate must be above 0"),
    ],
)
def test_ranges(change, message):
    with pytest.raises(ConfigError, match=message):
        StudentOptions(**change)
