"""A segmenter that remembers: what is asked twice is answered once, and its time told twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.remembering import Remembering
from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.stages.proposals import grid_points, point_prompts
from uosam.structures import Embedding, Prompts, Proposals


class Counting(FakeBackend):
    """Counts what it is asked."""

    asked = 0
    judge = "mine"

    def decode(self, embedding: Embedding, prompts: Prompts, **limits: Any) -> Proposals:
        self.asked += 1
        return super().decode(embedding, prompts, **limits)


def test_a_question_is_asked_once_a_picture(scene: Scene) -> None:
    behind = Counting()
    backend = Remembering(behind)
    (prompts,) = point_prompts(grid_points(scene.image.shape[:2], 4))
    embedding = backend.embed(scene.image)
    assert backend.embed(scene.image) is embedding
    first = backend.decode(embedding, prompts)
    before = backend.saved
    assert backend.decode(embedding, prompts) is first
    assert behind.asked == 1
    assert backend.saved > before
    np.testing.assert_array_equal(first.masks, behind.decode(embedding, prompts).masks)
    behind.asked = 0
    backend.decode(embedding, prompts, min_score=0.5)
    (others,) = point_prompts(grid_points(scene.image.shape[:2], 5))
    backend.decode(embedding, others)
    assert behind.asked == 2, "limits and points are part of the question"
    backend.decode(backend.embed(scene.image[::-1].copy()), prompts)
    backend.decode(backend.embed(scene.image), prompts)
    assert behind.asked == 4, "another picture makes it forget"
    assert backend.judge == "mine"
