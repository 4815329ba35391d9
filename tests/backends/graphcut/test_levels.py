"""Levels of granularity: from whole to part, one mask a level, areas never growing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.conftest import Scene
from uosam.backends.graphcut.backend import GraphCut
from uosam.errors import InputError
from uosam.labels import iou
from uosam.stages.prompts import PromptOptions, make_prompts
from uosam.structures import Prompts

EVERY = np.arange(1, 7, dtype=np.int8)


def clicks(
    points: list[list[float]], labels: list[int], levels: np.ndarray | None = None
) -> Prompts:
    return Prompts(
        points=np.array([points], np.float32).reshape(1, -1, 2),
        point_labels=np.array([labels], np.int8).reshape(1, -1),
        labels=np.zeros(1, np.int32),
        levels=EVERY[None] if levels is None else levels,
    )


@settings(max_examples=25, deadline=None)
@given(
    blocks=arrays.arrays(np.uint8, (4, 6, 3)),
    places=st.lists(
        st.tuples(st.floats(0, 95), st.floats(0, 63), st.integers(0, 1)), min_size=1, max_size=4
    ),
)
def test_areas_never_grow_with_the_level(
    blocks: np.ndarray, places: list[tuple[float, float, int]]
) -> None:
    backend = GraphCut()
    embedding = backend.embed(blocks.repeat(16, axis=0).repeat(16, axis=1))
    asked = clicks([[x, y] for x, y, _ in places], [*(label for *_, label in places[1:]), 1])
    found = backend.decode(embedding, asked)
    assert found.level.tolist() == EVERY.tolist()
    for coarser, finer in zip(found.masks, found.masks[1:], strict=False):
        assert not (finer & ~coarser).any()


def test_rows_ask_for_levels_of_their_own(scene: Scene) -> None:
    backend = GraphCut()
    embedding = backend.embed(scene.image)
    every = backend.decode(embedding, clicks([[26, 30]], [1]))
    both = Prompts(
        points=np.array([[[26, 30]], [[26, 30]]], np.float32),
        point_labels=np.ones((2, 1), np.int8),
        labels=np.zeros(2, np.int32),
        levels=np.array([[2, 5], [3, 0]], np.int8),
    )
    some = backend.decode(embedding, both)
    assert some.level.tolist() == [2, 5, 3]
    assert some.row.tolist() == [0, 0, 1]
    assert np.array_equal(some.masks, every.masks[[1, 4, 2]])


@pytest.mark.parametrize("kind", ["point", "box", "mask"])
def test_every_kind_of_prompt_has_levels(scene: Scene, kind: str) -> None:
    backend = GraphCut()
    embedding = backend.embed(scene.image)
    change = {"mask": kind == "mask", "boxes": kind == "box"}
    prompts = make_prompts(scene.coarse, embedding, replace(PromptOptions(), **change))
    if kind != "point":
        prompts = replace(prompts, point_labels=np.full_like(prompts.point_labels, -1))
    found = backend.decode(embedding, replace(prompts, levels=np.tile(EVERY, (len(prompts), 1))))
    for row, label in enumerate(prompts.labels.tolist()):
        best = max(iou(mask, scene.target == label) for mask in found.masks[found.row == row])
        assert best > 0.9


def test_a_row_that_says_nowhere_has_no_answer(scene: Scene) -> None:
    backend = GraphCut()
    embedding = backend.embed(scene.image)
    assert len(backend.decode(embedding, clicks([[3, 3]], [-1]))) == 0
    empty = np.full((1, *embedding.logits_hw), -9, np.float32)
    assert len(backend.decode(embedding, replace(clicks([[3, 3]], [-1]), logits=empty))) == 0


def test_levels_beyond_the_hierarchy_are_refused(scene: Scene) -> None:
    backend = GraphCut()
    asked = clicks([[3, 3]], [1], np.array([[7]], np.int8))
    with pytest.raises(InputError, match="graphcut has levels 1 to 6, got 7"):
        backend.decode(backend.embed(scene.image), asked)
