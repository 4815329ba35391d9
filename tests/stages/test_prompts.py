"""Prompts: points lie where they should, boxes are tight, rows stand for the right objects."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.errors import ConfigError, InputError
from uosam.stages.mask_prompts import distance_mask, score_margin, soft_mask
from uosam.stages.prompts import (
    PromptOptions,
    cluster,
    confidence_points,
    distance_points,
    foreground_prototypes,
    location_confidence,
    make_prompts,
    object_masks,
)
from uosam.structures import LOGIT_SCALE, Embedding, Prompts


@pytest.fixture
def embedding(scene: Scene) -> Embedding:
    return FakeBackend().embed(scene.image)


def test_one_row_per_object_largest_first(scene: Scene, embedding: Embedding) -> None:
    prompts = make_prompts(scene.coarse, embedding, PromptOptions())
    sizes = [(scene.coarse == label).sum() for label in prompts.labels]
    assert sorted(prompts.labels) == [1, 2]
    assert sizes == sorted(sizes, reverse=True)
    assert prompts.asked is not None
    for mask, label in zip(prompts.asked, prompts.labels, strict=True):
        assert np.array_equal(mask, scene.coarse == label)


def test_without_background_every_id_is_asked_about(scene: Scene, embedding: Embedding) -> None:
    prompts = make_prompts(scene.coarse, embedding, PromptOptions(), background=None)
    assert sorted(prompts.labels) == [0, 1, 2]


def test_points_lie_inside_and_boxes_are_tight(scene: Scene, embedding: Embedding) -> None:
    prompts = make_prompts(
        scene.coarse, embedding, PromptOptions(positive_points=2, negative_points=1)
    )
    assert prompts.boxes is not None
    for row, label in enumerate(prompts.labels):
        mask = scene.coarse == label
        rows, cols = np.nonzero(mask)
        assert prompts.boxes[row].tolist() == [cols.min(), rows.min(), cols.max(), rows.max()]
        for (x, y), side in zip(prompts.points[row], prompts.point_labels[row], strict=True):
            if side >= 0:
                assert mask[int(y), int(x)] == bool(side)


def test_the_first_distance_point_is_the_deepest_pixel() -> None:
    mask = np.zeros((21, 31), bool)
    mask[2:19, 4:21] = True  # a 17 x 17 square: its centre is (x 12, y 10)
    points, labels = distance_points(mask, 1, 0)
    assert points.tolist() == [[12, 10]]
    assert labels.tolist() == [1]


def test_a_mask_that_fills_its_box_has_no_negative_point() -> None:
    points, labels = distance_points(np.ones((5, 5), bool), 1, 2)
    assert labels.tolist() == [1]
    assert len(points) == 1


def test_the_negative_point_is_in_the_far_corner_of_the_box() -> None:
    mask = np.zeros((12, 12), bool)
    mask[:12, :3] = True
    mask[9:, :] = True  # an L: the corner away from it is top right
    points, _ = distance_points(mask, 0, 1)
    assert points.tolist() == [[11, 0]]


def test_apart_components_of_a_class_have_rows_of_their_own(embedding: Embedding) -> None:
    coarse = np.zeros((64, 96), np.int32)
    coarse[4:24, 4:30] = 7
    coarse[40:60, 60:90] = 7
    coarse[0, 95] = 7
    parts = object_masks(coarse, PromptOptions(split=True, min_component=0.2), 0)
    assert [label for label, _ in parts] == [7, 7]
    assert parts[0][1][0, 95]  # the speck stays with the largest component
    assert np.array_equal(parts[0][1] | parts[1][1], coarse == 7)
    assert len(object_masks(coarse, PromptOptions(split=False), 0)) == 1


def test_specks_are_not_redrawn(embedding: Embedding) -> None:
    coarse = np.zeros((64, 96), np.int32)
    coarse[0, 0] = 3
    assert len(make_prompts(coarse, embedding, PromptOptions(min_area=0.01))) == 0


def test_prototypes_find_their_own_colour(scene: Scene, embedding: Embedding) -> None:
    prototypes = foreground_prototypes(embedding, scene.target == 2)
    assert np.linalg.norm(prototypes, axis=1) == pytest.approx(1)
    confidence = location_confidence(embedding, prototypes)
    points, labels = confidence_points(confidence, embedding.image_hw, 1, 1)
    assert labels.tolist() == [1, 0]
    x, y = points[0].astype(int)
    assert scene.target[y, x] == 2


def test_several_prototypes_cover_a_two_coloured_object() -> None:
    features = np.zeros((2, 4, 4), np.float32)
    features[0, :, :2] = 1
    features[1, :, 2:] = 1
    embedding = Embedding(features=features, extent=(4.0, 4.0), image_hw=(32, 32))
    everything = np.ones((32, 32), bool)
    assert location_confidence(embedding, foreground_prototypes(embedding, everything, 2)).min() > (
        0.99
    )
    assert location_confidence(embedding, foreground_prototypes(embedding, everything, 1)).max() < (
        0.75
    )


def test_large_sets_are_clustered_by_faiss_to_the_same_centres() -> None:
    generator = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]], np.float32)
    many = centres[generator.integers(0, 3, 60_000)] + generator.normal(0, 0.1, (60_000, 2))
    few = many[:3000]
    for vectors in (many, few):
        found = cluster(vectors.astype(np.float32), 3)
        distance = np.linalg.norm(found[:, None] - centres[None], axis=2)
        assert distance.min(axis=0).max() < 0.05


def test_distance_masks_fall_linearly_from_the_outline(embedding: Embedding) -> None:
    mask = np.zeros((64, 96), bool)
    mask[:, :48] = True
    logits = distance_mask(mask, embedding, 8.0, 10.0)
    assert logits.shape == embedding.logits_hw
    rows, cols = (round(side * LOGIT_SCALE) for side in embedding.extent)
    # Independent of distance transforms: a straight edge, columns averaged by hand.
    x = np.arange(96) + 0.5
    steps = np.where(x < 48, np.ceil(48 - x), -np.ceil(x - 48))
    expected = 8 * np.clip(steps / 10, -1, 1)
    expected = expected.reshape(cols, -1).mean(axis=1)
    np.testing.assert_allclose(logits[:rows, :cols], np.tile(expected, (rows, 1)), atol=1e-4)
    assert (logits[rows:] == -8).all()
    assert (logits[:, cols:] == -8).all()


def test_soft_masks_are_bounded_log_odds(scene: Scene, embedding: Embedding) -> None:
    logits = soft_mask((scene.target == 1).astype(np.float32), embedding, 8.0)
    assert logits.shape == embedding.logits_hw
    assert logits.max() == pytest.approx(8, abs=1e-3)
    assert logits.min() == pytest.approx(-8, abs=1e-3)
    half = soft_mask(np.full((64, 96), 0.5, np.float32), embedding, 8.0)
    assert np.abs(half).max() < 1e-5


def test_a_margin_is_against_the_best_other_class() -> None:
    scores = np.array([0.4, 0.35, 0.25], np.float32).reshape(3, 1, 1)
    margins = [score_margin(scores, label, (2, 2)) for label in range(3)]
    for margin, odds in zip(margins, (0.4 / 0.35, 0.35 / 0.4, 0.25 / 0.4), strict=True):
        np.testing.assert_allclose(margin, np.full((2, 2), np.log(odds)), rtol=1e-5)
    assert scores.ravel().tolist() == pytest.approx([0.4, 0.35, 0.25]), "the scores stay"


@pytest.mark.parametrize("power", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("reach", [0.0, 0.0625])
def test_scores_shape_the_prompt_however_sure_they_are(
    scene: Scene, embedding: Embedding, power: float, reach: float
) -> None:
    """Half of the prompt is the shape's; the other half is as strong, however sure."""
    options = PromptOptions(mask_strength=8.0, mask_reach=reach)
    shares = np.stack([cv2.GaussianBlur((scene.coarse == k) * 1.0, (0, 0), 4) for k in range(3)])
    scores = (shares + 0.01) ** power
    scores = (scores / scores.sum(0)).astype(np.float32)
    hard = make_prompts(scene.coarse, embedding, options)
    soft = make_prompts(scene.coarse, embedding, options, scores=scores)
    assert hard.logits is not None
    assert soft.logits is not None
    for shape, both in zip(hard.logits, soft.logits, strict=True):
        assert np.abs(both).max() <= 8 + 1e-3
        assert np.corrcoef(shape.ravel(), both.ravel())[0, 1] > 0.9
        assert np.abs(both).mean() == pytest.approx(np.abs(shape).mean(), rel=0.2)
        assert not np.allclose(both, shape, atol=0.5)


def test_scores_that_tell_nothing_leave_the_say_of_the_shape(
    scene: Scene, embedding: Embedding
) -> None:
    flat = np.full((3, 8, 12), 1 / 3, np.float32)
    hard = make_prompts(scene.coarse, embedding, PromptOptions())
    soft = make_prompts(scene.coarse, embedding, PromptOptions(), scores=flat)
    one = make_prompts(scene.coarse, embedding, PromptOptions(), scores=flat[:1])
    np.testing.assert_allclose(soft.logits, 0.7 * hard.logits, atol=1e-4)
    np.testing.assert_array_equal(one.logits, hard.logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_area": 1.5}, r"prompts.min_area must be in \[0, 1\], got 1.5"),
        ({"min_component": -0.1}, r"prompts.min_component must be in \[0, 1\]"),
        ({"prototypes": 0}, "prototypes at least 1, got 1, 0, 0"),
        ({"mask_strength": 0.0}, "prompts.mask_strength must be above 0, got 0.0"),
        ({"point_source": "random"}, "similarity or distance, got 'random'"),
        (
            {"positive_points": 0, "boxes": False, "mask": False},
            "at least one of positive_points, boxes and mask",
        ),
    ],
)
def test_options_out_of_range_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PromptOptions(), **change)


@pytest.mark.parametrize("name", ["points", "point_labels", "boxes", "logits", "asked"])
def test_rows_that_disagree_are_refused(name: str) -> None:
    good = {
        "points": np.zeros((2, 1, 2), np.float32),
        "point_labels": np.ones((2, 1), np.int8),
        "boxes": np.zeros((2, 4), np.float32),
        "logits": np.zeros((2, 8, 8), np.float32),
        "labels": np.zeros(2, np.int32),
        "asked": np.zeros((2, 4, 4), bool),
    }
    with pytest.raises(InputError, match=rf"Prompts.{name} must be \(2"):
        Prompts(**{**good, name: good[name][:1]})
