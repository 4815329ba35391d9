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
    propose,
    refine_global,
)
from uosam.stages.levels import ask_levels, consent, granularity_level, may_be_part
from uosam.stages.local_region import LocalRegionOptions
from uosam.stages.prompts import PromptOptions, make_prompts
from uosam.stages.proposals import grid_points, point_prompts
from uosam.stages.redraw import choose
from uosam.stages.votes import is_pure
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


def test_levels_of_a_click_agree_or_do_not() -> None:
    whole, half = np.ones((4, 4), bool), np.ones((4, 4), bool)
    half[:, 2:] = False
    assert consent([1, 2, 3], [whole, whole, whole]) == 1
    assert np.isclose(consent([1, 2, 3], [whole, half, half]), (0.5 + 0.5 + 1) / 3)
    assert consent([3, 4], [whole, half]) == 1  # parts are smaller by intent
    assert consent([], []) == 1


def test_parts_are_for_regions_that_may_be_parts() -> None:
    whole, corner = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    corner[:2, :2] = True
    assert may_be_part([3, 4], [whole, corner], corner)
    assert not may_be_part([3, 4], [whole, corner], whole)
    assert may_be_part([1, 4], [whole, corner], whole)  # nothing to compare with


def nested_answers(scene: Scene) -> tuple[Nested, Embedding, Prompts]:
    backend = Nested()
    embedding = backend.embed(scene.image)
    prompts = next(point_prompts(np.array([[10.0, 10.0]], np.float32), (1, 2, 3)))
    return backend, embedding, prompts


def test_of_levels_with_parts_a_large_region_gets_none(scene: Scene) -> None:
    backend, embedding, prompts = nested_answers(scene)
    found = backend.decode(embedding, prompts)
    asked = found.masks[2:3]  # the pixel, level 3
    shifted = replace(found, level=found.level + 2)  # whole 3, half 4, pixel 5
    assert choose(shifted, asked, None, "agreement")[0].mask.sum() == 1
    large = found.masks[:1].copy()
    large[0, :, :30] = False  # two thirds of the whole: more like it than like its half
    assert choose(shifted, large, None, "agreement")[0].mask.all()
    left = found.masks[1:2]
    assert choose(found, left, None, "agreement")[0].mask.sum() == left.sum()
    assert choose(shifted, left, None, "agreement")[0].mask.all()  # half is not less than half


def test_an_ambiguous_click_keeps_the_coarse_shape(scene: Scene) -> None:
    from uosam.pipeline import RefineOptions

    def run(least: float) -> tuple[set[str], float]:
        local = LocalRegionOptions(
            levels=(1, 2, 3), choose="agreement", cascade=1, min_score=0, min_consent=least
        )
        prompts = PromptOptions(boxes=False, mask=False)
        options = RefineOptions(local_region=local, prompts=prompts)
        result = refine(scene.image, scene.coarse, Wavering(), options)
        objects = result.confidence[result.labels > 0]
        return {verdict.reason for verdict in result.verdicts}, float(objects.max())

    reasons, sure = run(0.0)
    assert "accepted" in reasons
    assert "consent" not in reasons
    assert sure < 0.8  # though the masks are sure of themselves
    reasons, _ = run(0.9)
    assert "consent" in reasons
    assert "accepted" not in reasons


class Wavering(GraphCut):
    """Answers level 1 with all of the picture and the others with its own masks."""

    def decode(self, embedding: Embedding, prompts: Prompts, **limits: object) -> Proposals:
        found = super().decode(embedding, prompts, **limits)  # type: ignore[arg-type]
        masks, logits = found.masks.copy(), found.logits.copy()
        masks[found.level == 1] = True
        logits[found.level == 1] = 9
        return replace(found, masks=masks, logits=logits)


def test_consent_needs_levels_to_compare() -> None:
    with pytest.raises(ConfigError, match=r"min_consent needs two of the levels 1 to 3"):
        LocalRegionOptions(min_consent=0.5, levels=(3, 4))
