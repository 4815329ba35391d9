"""A region is shown as a crop, masked, both, or pooled."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import Scene
from tests.text_fakes import Colours, Pooling
from uosam.errors import ConfigError
from uosam.regions.crops import find_regions
from uosam.regions.views import best_view, embed_regions


def test_the_best_view_is_all_that_the_model_can_take() -> None:
    assert best_view(Colours()) == "both"
    assert best_view(Pooling()) == "all"


@pytest.mark.parametrize("view", ["crop", "masked", "both", "pooled", "all"])
def test_every_view_tells_disc_from_box(scene: Scene, view: str) -> None:
    model = Pooling()
    regions = find_regions(scene.target, "a", background=0)
    rows = embed_regions(model, scene.image, regions, view)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    products = rows @ model.embed_texts(["tomato", "grass", "sea"]).T
    assert products.argmax(axis=1).tolist() == [0, 1]


def test_a_mean_of_views_is_their_mean(scene: Scene) -> None:
    regions = find_regions(scene.target, "a", background=0)
    crop, masked, both = (
        embed_regions(Colours(), scene.image, regions, view) for view in ("crop", "masked", "both")
    )
    mean = (crop + masked) / 2
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    model = Colours()
    model.exclusive = True
    np.testing.assert_allclose(embed_regions(model, scene.image, regions, "both"), mean, atol=1e-6)
    # The mask leaves the blue around the disc out.
    assert (masked @ model.embed_texts(["tomato"]).T)[0] > (crop @ model.embed_texts(["tomato"]).T)[
        0
    ]


def test_a_model_that_cannot_pool_says_so(scene: Scene) -> None:
    regions = find_regions(scene.target, "a", background=0)
    with pytest.raises(ConfigError, match="view 'all' needs a model that pools"):
        embed_regions(Colours(), scene.image, regions, "all")
