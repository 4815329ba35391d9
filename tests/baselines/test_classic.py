"""Refiners without a model, on a picture whose right answer is known."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from uosam.baselines.dense_crf import refine_dense_crf
from uosam.baselines.guided_filter import refine_guided_filter
from uosam.baselines.superpixel_vote import refine_superpixel_vote

from tests.conftest import Scene
from uosam.baselines import dense_crf as crf
from uosam.errors import BackendError, ConfigError, InputError
from uosam.labels import iou
from uosam.structures import IGNORE

BASELINES = (refine_superpixel_vote, refine_guided_filter, refine_dense_crf)


@pytest.fixture(params=BASELINES, ids=lambda f: f.__name__)
def baseline(request):
    if request.param is refine_dense_crf:
        pytest.importorskip("pydensecrf", reason="the extra 'crf' is not installed")
    return request.param


def test_objects_are_drawn_closer(baseline, scene: Scene) -> None:
    labels = baseline(scene.image, scene.coarse)
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) <= {0, 1, 2}
    for label in (1, 2):
        target = scene.target == label
        assert iou(labels == label, target) > iou(scene.coarse == label, target) + 0.05


def test_ignore_stays_and_a_single_label_too(baseline, scene: Scene) -> None:
    coarse = scene.coarse.copy()
    coarse[:7, 3:40] = IGNORE
    before = coarse.copy()
    labels = baseline(scene.image, coarse)
    assert np.array_equal(labels == IGNORE, coarse == IGNORE)
    assert np.array_equal(coarse, before)
    for value in (3, IGNORE):
        whole = np.full_like(coarse, value)
        assert np.array_equal(baseline(scene.image, whole), whole)


def test_sizes_must_agree(baseline, scene: Scene) -> None:
    with pytest.raises(InputError, match="64 x 96"):
        baseline(scene.image, scene.coarse[:50])


def test_names_of_labels_do_not_matter(baseline, scene: Scene) -> None:
    renamed = np.array([5, 7, 300], np.int32)
    expected = renamed[baseline(scene.image, scene.coarse)]
    assert np.array_equal(baseline(scene.image, renamed[scene.coarse]), expected)


def test_superpixels_that_are_the_shapes_give_the_shapes() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 30:] = 200
    coarse = np.zeros((40, 60), np.int32)
    coarse[:, 24:] = 4
    coarse[5:8, 40:43] = 0
    target = np.zeros((40, 60), np.int32)
    target[:, 30:] = 4
    assert np.array_equal(refine_superpixel_vote(image, coarse, segments=2), target)


def test_a_tie_in_a_superpixel_goes_to_the_lower_id() -> None:
    image = np.full((8, 8, 3), 90, np.uint8)
    coarse = np.full((8, 8), 2, np.int32)
    coarse[:, 4:] = 1
    assert (refine_superpixel_vote(image, coarse, segments=1) == 1).all()


def test_the_guided_filter_keeps_a_map_that_fits_the_picture(scene: Scene) -> None:
    labels = refine_guided_filter(scene.image, scene.target, scale=1)
    assert (labels == scene.target).mean() > 0.99


def test_the_unary_of_the_crf_is_what_it_says(scene: Scene, monkeypatch) -> None:
    seen = []

    def unary_alone(log_probabilities, guide):
        seen.append(np.exp(log_probabilities))
        return seen[0]

    monkeypatch.setattr(crf, "dense_crf", unary_alone)
    coarse = scene.coarse.copy()
    coarse[0, 0] = IGNORE
    assert np.array_equal(refine_dense_crf(scene.image, coarse, confidence=0.8), coarse)
    (chances,) = seen
    np.testing.assert_allclose(chances[:, 0, 0], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(chances[:, 1, 1], (0.8, 0.1, 0.1), rtol=1e-5)
    np.testing.assert_allclose(chances.sum(axis=0), 1, rtol=1e-5)


def test_what_the_crf_refuses(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="confidence must be above 0 and below 1, got 1"):
        refine_dense_crf(scene.image, scene.coarse, confidence=1)
    genuine = builtins.__import__

    def without(name, *arguments, **settings):
        if name.startswith("pydensecrf"):
            raise ImportError(name)
        return genuine(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BackendError, match=r"pip install 'uosam\[crf\]'"):
        refine_dense_crf(scene.image, scene.coarse)
