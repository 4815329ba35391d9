"""Objects that keep their shapes yield what they leave out; ends cut off from an object go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.conftest import Scene
from tests.stages.judging.test_judge import Judged, judge_by
from tests.stages.test_local_region import merged_map, redraws
from uosam.pipeline import DEFAULTS, refine
from uosam.stages.merge import without_strays
from uosam.stages.prompts import PromptOptions

BOTH = redraws(
    [1, 2],
    [[[1, 1, 1, 1, 0, 0]], [[0, 0, 0, 1, 1, 1]]],
    [[[5, 5, 5, 5, -5, -5]], [[-5, -5, -5, -1, 5, 5]]],
)
"""Two redraws, of which the first reaches one pixel into the second's coarse shape."""
COARSE = np.array([[1, 1, 1, 2, 2, 2]], np.int32)
FIRST = np.array([True, False])


def test_who_keeps_a_shape_yields_what_its_own_claim_leaves_out() -> None:
    yields = np.array([True, True])
    assert merged_map(COARSE, BOTH, FIRST, 0, "logits").tolist() == [[1, 1, 1, 2, 2, 2]]
    yielding = replace(BOTH, yields=yields)
    assert merged_map(COARSE, yielding, FIRST, 0, "logits").tolist() == [[1, 1, 1, 1, 2, 2]]
    # It does not yield what it claims, nor what nobody takes.
    claims = np.abs(BOTH.logits)
    kept = merged_map(COARSE, replace(yielding, claims=claims), FIRST, 0, "logits")
    assert kept.tolist() == COARSE.tolist()
    untouched = replace(yielding, masks=BOTH.masks & False, claims=-claims)
    assert (merged_map(COARSE, untouched, FIRST, 0, "logits")[0, 3:] == 2).all()


@settings(max_examples=100, deadline=None)
@given(
    coarse=arrays(np.int32, (5, 6), elements=st.integers(-1, 3)),
    masks=arrays(bool, (3, 5, 6)),
    logits=arrays(np.float32, (3, 5, 6), elements=st.floats(-8, 8, width=32)),
    accepted=arrays(bool, 3),
    background=st.sampled_from([0, None]),
)
def test_who_yields_is_not_erased(coarse, masks, logits, accepted, background) -> None:  # type: ignore[no-untyped-def]
    labels = [label for label in (1, 2, 3) if (coarse == label).any()]
    take = len(labels)
    if not take:
        return
    found = redraws(labels, list(masks[:take]), list(logits[:take]))
    found = replace(found, yields=np.ones(take, bool))
    merged = merged_map(coarse, found, accepted[:take], background, "logits")
    assert np.array_equal(merged == -1, coarse == -1)
    assert set(labels) <= set(np.unique(merged).tolist())


@pytest.mark.parametrize(("least", "yields"), [(0.5, True), (0.95, False)])
def test_who_yields_has_a_redraw_that_agrees_with_its_shape(  # type: ignore[no-untyped-def]
    scene: Scene, monkeypatch, least: float, *, yields: bool
) -> None:
    monkeypatch.setattr("uosam.stages.verdict._YIELDS", least)
    # The redraw of the disc is accepted, that of the box, larger than the disc, is not.
    backend = Judged(judge_by("size_old", np.log2(0.16), 0.2, -0.2))
    coarse = scene.target.copy()
    coarse[20:48, 38:60] = 2  # the box's shape covers the edge of the disc
    options = replace(DEFAULTS, prompts=PromptOptions(mask=False))
    found = refine(scene.image, coarse, backend, options)
    assert {v.label: v.accepted for v in found.verdicts} == {1: True, 2: False}
    gave_up = (coarse == 2) & (found.labels == 1)
    assert gave_up.any() == yields
    assert not (gave_up & (scene.target == 2)).any()


def test_ends_that_others_cut_off_go_to_what_is_around_them() -> None:
    coarse = np.zeros((9, 9), np.int32)
    coarse[2:4, 2:7] = 1
    merged = coarse.copy()
    merged[4:6, 2:7] = 2
    merged[6, 3:5] = 1  # of a redraw of the first that reached across the second
    merged[0, 8] = 1
    cleaned = without_strays(merged, coarse, [1, 2])
    assert (cleaned == 1).sum() == 10
    assert cleaned[0, 8] == 0
    assert (cleaned[6, 3:5] == 0).all()
    merged[6, 3:7] = 1
    assert (without_strays(merged, coarse, [1, 2])[6, 3:7] == 1).all()
    merged[6, 5:7] = 0
    assert np.array_equal(without_strays(merged, coarse, [2]), merged)
    # A part that the coarse map had stays, and so does a fifth of the object, wherever it lies.
    apart = coarse.copy()
    apart[7, 7] = 1
    assert np.array_equal(without_strays(apart, apart, [1]), apart)
    assert np.array_equal(without_strays(coarse, np.zeros_like(coarse), [1]), coarse)


def test_an_object_of_nothing_but_small_strays_keeps_one() -> None:
    coarse = np.zeros((1, 13), np.int32)
    merged = np.array([[1, 0] * 6 + [0]], np.int32)
    assert (without_strays(merged, coarse, [1]) == 1).sum() == 1


def test_a_part_among_unknown_pixels_stays() -> None:
    coarse = np.array([[1, 1, 1, 1, 1, 0, -1, 0, -1]], np.int32)
    merged = np.array([[1, 1, 1, 1, 1, 0, -1, 1, -1]], np.int32)
    assert np.array_equal(without_strays(merged, coarse, [1]), merged)
