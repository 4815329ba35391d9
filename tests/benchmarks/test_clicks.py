"""The one-click evaluation, on a scene whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import Picture
from benchmarks.clicks import (
    count_clicks,
    deepest,
    measure,
    next_click,
    objects,
    regions_under,
)
from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.backends.graphcut.backend import GraphCut


@pytest.fixture
def made(scene: Scene) -> Picture:
    return Picture(image=scene.image, coarse=scene.coarse, target=scene.target)


def test_a_click_lies_deepest_and_the_next_where_the_answer_is_deepest_wrong() -> None:
    target = np.zeros((20, 30), bool)
    target[4:15, 3:14] = True
    assert deepest(target) == (8, 9)
    answer = target.copy()
    answer[4:15, 3:6] = False
    answer[0:2] = True
    (x, y), missing = next_click(answer, target)
    assert missing
    assert target[y, x]
    assert not answer[y, x]
    (x, y), missing = next_click(np.ones((20, 30), bool), target)
    assert not missing
    assert not target[y, x]


def test_objects_and_regions_under_a_click(made: Picture) -> None:
    found = list(objects(made, 0))
    assert [int(made.target[mask].min()) for mask in found] == [1, 2]
    regions = regions_under(made, found[0], deepest(found[0]), 0)
    assert [int(region.sum()) for region in regions] == [
        (made.target == 1).sum(),
        (made.target > 0).sum(),
    ]
    assert len(regions_under(made, found[0], deepest(found[0]), None)) == 1


def test_a_segmenter_that_is_right_needs_one_click(made: Picture) -> None:
    backend = GraphCut()
    found = measure(backend, 6, [made], 0)
    assert found["objects"] == 2
    assert found["1-IoU oracle"] >= found["1-IoU max"]
    assert found["1-IoU oracle"] >= max(found["1-IoU by level"])
    assert found["1-IoU oracle"] > 0.9
    assert len(found["1-IoU by level"]) == 6
    assert 1 <= found["NoC@85"] <= found["NoC@90"] <= 20


def test_what_is_never_reached_counts_all_clicks(made: Picture) -> None:
    backend = FakeBackend()  # floods a colour: the noise is in reach, the whole picture is not
    embedding = backend.embed(made.image)
    everything = np.ones(made.target.shape, bool)
    assert set(count_clicks(backend, embedding, everything, 3).values()) == {3}
    found = measure(backend, 0, [made], 0, clicks=1, most_objects=1)
    assert found["objects"] == 1
    assert "NoC@85" not in found
    assert "1-IoU by level" not in found
