"""The order of the stages: one encoding, rounds of the local stage, one vote."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fakes import FakeBackend
from uosam.labels import box
from uosam.pipeline import RefineOptions, refine
from uosam.stages.local_region import LocalRegionOptions
from uosam.stages.prompts import PromptOptions
from uosam.structures import LOGIT_SCALE, Embedding, Prompts, Proposals

SIDE = 64


class Growing(FakeBackend):
    """Answers a box with one two pixels larger on every side, up to ``limit`` pixels wide."""

    def __init__(self, limit: int = SIDE) -> None:
        self.limit = limit
        self.embedded, self.asked = 0, list[Prompts]()

    def embed(self, image):  # type: ignore[no-untyped-def]
        self.embedded += 1
        return super().embed(image)

    def decode(self, embedding: Embedding, prompts: Prompts, **_: object) -> Proposals:  # type: ignore[override]
        self.asked.append(prompts)
        assert prompts.boxes is not None
        masks = np.zeros((len(prompts), *embedding.image_hw), bool)
        for mask, (x0, y0, x1, y1) in zip(masks, prompts.boxes.astype(int), strict=True):
            more = 2 if x1 - x0 + 1 + 4 <= self.limit else 0
            mask[y0 - more : y1 + 1 + more, x0 - more : x1 + 1 + more] = True
        grid = embedding.logits_hw
        assert grid[0] * 8 // LOGIT_SCALE == SIDE
        return Proposals(
            masks=masks,
            scores=np.full(len(masks), 0.9, np.float32),
            stability=np.ones(len(masks), np.float32),
            logits=np.where(masks[:, ::2, ::2], 9, -9).astype(np.float32),
            row=np.arange(len(masks)),
        )


def options(rounds: int) -> RefineOptions:
    return RefineOptions(
        prompts=PromptOptions(mask=False),
        local_region=LocalRegionOptions(rounds=rounds, cascade=1),
    )


def square(side: int) -> np.ndarray:
    coarse = np.zeros((SIDE, SIDE), np.int32)
    first = (SIDE - side) // 2
    coarse[first : first + side, first : first + side] = 1
    return coarse


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_every_round_starts_from_the_map_of_the_one_before(rounds: int) -> None:
    backend = Growing()
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    result = refine(image, square(20), backend, options(rounds))
    assert np.array_equal(result.labels, square(20 + 4 * rounds))
    assert np.array_equal(result.local, result.labels)
    assert backend.embedded == 1
    assert [choice.area for choice in result.verdicts] == [(20 + 4 * n) ** 2 for n in range(rounds)]
    assert np.array_equal(result.prompts.boxes[0], box(square(20) == 1))  # the first questions
    assert set(result.seconds) == {"embed", "prompts", "local_region", "global_region"}


def test_rounds_end_when_nothing_changes() -> None:
    backend = Growing(limit=24)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    result = refine(image, square(20), backend, options(9))
    assert np.array_equal(result.labels, square(24))
    assert len(backend.asked) == 2


def test_class_scores_speak_of_the_first_map_only() -> None:
    backend = Growing()
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    told = np.where(square(10) == 1, 0.9, 0.1).astype(np.float32)
    scores = np.stack([1 - told, told])
    chosen = RefineOptions(local_region=LocalRegionOptions(rounds=2, cascade=1))
    refine(image, square(20), backend, chosen, scores=scores)
    refine(image, square(20), backend, chosen)
    first, second, bare, bare_second = (asked.logits for asked in backend.asked)
    assert (first < bare - 0.5).any()  # the scores' object is smaller than the map's
    np.testing.assert_array_equal(second, bare_second)
