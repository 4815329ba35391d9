"""The dial: which levels a stage may ask for, and that it asks for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import Scene
from uosam.backends.graphcut.backend import GraphCut
from uosam.errors import ConfigError, InputError
from uosam.pipeline import refine
from uosam.stages.global_region import (
    GlobalRegionOptions,
    is_pure,
    propose,
    refine_global,
)
from uosam.stages.levels import ask_levels, granularity_level
from uosam.stages.local_region import LocalRegionOptions
from uosam.stages.prompts import PromptOptions, make_prompts
from uosam.stages.proposals import grid_points, point_prompts
from uosam.structures import IGNORE, Embedding, Prompts, Proposals


class Listening(GraphCut):
    """The graph cut, and what levels it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int] | None] = []

    def decode(self, embedding: Embedding, prompts: Prompts, **limits: object) -> Proposals:
        levels = prompts.levels
        self.asked.append(None if levels is None else levels[0].tolist())
        return super().decode(embedding, prompts, **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("levels", [(0,), (7,), (1, 1), (2, 1), (-1, 2)])
@pytest.mark.parametrize("options", [LocalRegionOptions, GlobalRegionOptions])
def test_levels_that_are_none_are_refused(levels: tuple[int, ...], options: type) -> None:
    with pytest.raises(ConfigError, match="levels must be whole numbers from 1"):
        options(levels=levels)


@pytest.mark.parametrize("granularity", [0.0, -1.0, 1.01])
def test_a_granularity_beyond_its_range_is_refused(granularity: float) -> None:
    with pytest.raises(ConfigError, match="granularity must be above 0"):
        granularity_level(granularity, 6)


def test_every_level_has_a_granularity() -> None:
    shares = np.linspace(0.001, 1, 500)
    assert {granularity_level(float(share), 6) for share in shares} == set(range(1, 7))
    assert {granularity_level(float(share), 3) for share in shares} == {1, 2, 3}


def test_no_levels_leave_the_prompts_as_they_are(scene: Scene) -> None:
    prompts = next(point_prompts(grid_points(scene.image.shape[:2], 2)))
    assert ask_levels(prompts, ()) is prompts
    levels = ask_levels(prompts, (1, 3)).levels
    assert levels is not None
    assert levels.tolist() == [[1, 3]] * 4


def test_the_stages_ask_for_their_levels(scene: Scene) -> None:
    backend = Listening()
    embedding = backend.embed(scene.image)
    options = GlobalRegionOptions(grid=2, levels=(2, 5), min_score=0, min_stability=0)
    propose(grid_points(scene.image.shape[:2], 2), embedding, backend, options)
    assert backend.asked == [[2, 5]]


def test_the_first_decode_of_an_object_asks_for_levels_and_the_second_for_its_mask(
    scene: Scene,
) -> None:
    from uosam.pipeline import RefineOptions

    backend = Listening()
    local = LocalRegionOptions(levels=(1, 2, 3), choose="agreement", cascade=2)
    result = refine(scene.image, scene.coarse, backend, RefineOptions(local_region=local))
    assert backend.asked == [[1, 2, 3], None]
    assert any(verdict.accepted for verdict in result.verdicts)


def test_prompts_and_proposals_hold_their_levels_together(scene: Scene) -> None:
    backend = GraphCut()
    prompts = make_prompts(scene.coarse, backend.embed(scene.image), PromptOptions())
    with pytest.raises(InputError, match=r"Prompts\.levels must be \(2, 1\), got \(1, 1\)"):
        replace(prompts, levels=np.ones((1, 1), np.int8))
    found = backend.decode(backend.embed(scene.image), prompts)
    assert found.level.tolist() == [0] * len(found)
    with pytest.raises(InputError, match=r"Proposals\.level must be \(\d+,\), got \(1,\)"):
        replace(found, level=np.ones(1, np.int8))


class Nested(GraphCut):
    """Answers every click with the whole picture, its left half, and the pixel: levels 1 to 3."""

    def decode(self, embedding: Embedding, prompts: Prompts, **limits: object) -> Proposals:
        found = super().decode(embedding, prompts, **limits)  # type: ignore[arg-type]
        height, width = embedding.image_hw
        rows, cols = embedding.logits_hw
        masks = np.zeros((len(found), height, width), bool)
        logits = np.full((len(found), rows, cols), -9, np.float32)
        for index, (level, row) in enumerate(zip(found.level, found.row, strict=True)):
            x, y = prompts.points[row, 0].astype(int)
            wide = {1: slice(None), 2: slice(0, width // 2), 3: slice(x, x + 1)}[int(level)]
            high = slice(y, y + 1) if level == 3 else slice(None)
            masks[index, high, wide] = True
            logits[index].flat[row * 3 + int(level)] = 9
        return replace(found, masks=masks, logits=logits)


def test_of_the_levels_of_a_click_the_coarsest_pure_one_votes(scene: Scene) -> None:
    backend = Nested()
    labels = np.zeros((64, 96), np.int32)
    labels[:, 48:] = 1
    labels[:4, :4] = 1
    common = GlobalRegionOptions(
        grid=2, levels=(1, 2, 3), min_score=0, min_stability=0, min_area=0, protect=False
    )
    embedding = backend.embed(scene.image)
    voted = refine_global(labels, embedding, backend, replace(common, coarsest=True))
    # The whole is half and half, the left half is pure: it takes back the corner.
    assert (voted[:, :48] == 0).all()
    assert (voted[:, 48:] == 1).all()
    purer = replace(common, coarsest=True, min_purity=0.999)
    assert np.array_equal(refine_global(labels, embedding, backend, purer), labels)


def test_pure_is_one_label_of_what_is_known() -> None:
    labels = np.array([[0, 0, 0, 1, IGNORE]], np.int32)
    options = GlobalRegionOptions()
    assert is_pure(np.ones((1, 5), bool), labels, options)
    assert not is_pure(np.ones((1, 5), bool), labels, replace(options, min_purity=0.8))
    assert not is_pure(labels == IGNORE, labels, options)
    assert not is_pure(np.zeros((1, 5), bool), labels, options)


def test_the_coarsest_needs_a_choice() -> None:
    with pytest.raises(ConfigError, match=r"coarsest needs levels to choose from, got \[3\]"):
        GlobalRegionOptions(coarsest=True, levels=(3,))
