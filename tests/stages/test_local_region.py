"""The local region optimizer: what is kept, what is taken, and that nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.errors import ConfigError, InputError
from uosam.labels import iou
from uosam.stages.local_region import LocalRegionOptions, refine_local
from uosam.stages.merge import merge
from uosam.stages.prompts import PromptOptions, make_prompts
from uosam.stages.redraw import Candidate, Redraws, choose, decode_cascade, unite
from uosam.stages.verdict import passes
from uosam.structures import Embedding, Prompts, Proposals

POINTS = PromptOptions(boxes=False, mask=False)


def embedding_of(shape: tuple[int, int]) -> Embedding:
    """An embedding whose logit grid is the picture itself, so that logits stand at pixels."""
    rows, cols = shape
    features = np.zeros((1, -(-rows // 4), -(-cols // 4)), np.float32)
    return Embedding(features=features, extent=(rows / 4, cols / 4), image_hw=shape)


def merged_map(coarse, found, accepted, background, rule):  # type: ignore[no-untyped-def]
    return merge(coarse, found, accepted, embedding_of(coarse.shape), background, rule)


def redraws(labels: list[int], masks: list, logits: list | None = None) -> Redraws:
    stack = np.array(masks, bool)
    field = np.where(stack, 5.0, -5.0) if logits is None else np.array(logits)
    if labels:
        pad = [(0, 0), *((0, -size % 4) for size in stack.shape[1:])]
        field = np.pad(field, pad, constant_values=-9)
    return Redraws(
        labels=np.array(labels, np.int32),
        masks=stack,
        logits=field.astype(np.float32),
        scores=np.ones(len(labels), np.float32),
        changed=np.ones(len(labels), bool),
    )


def test_redraws_follow_the_picture(scene: Scene) -> None:
    backend = FakeBackend()
    embedding = backend.embed(scene.image)
    prompts = make_prompts(scene.coarse, embedding, POINTS)
    result = refine_local(
        scene.coarse, scene.image, prompts, embedding, backend, LocalRegionOptions()
    )
    for label in (1, 2):
        before = iou(scene.coarse == label, scene.target == label)
        after = iou(result.labels == label, scene.target == label)
        assert after > max(before, 0.97)
    assert [d.reason for d in result.decisions] == ["accepted", "accepted"]
    assert 0 <= result.confidence.min() <= result.confidence.max() <= 1


def test_a_disabled_stage_and_an_empty_map_change_nothing(scene: Scene) -> None:
    backend = FakeBackend()
    embedding = backend.embed(scene.image)
    prompts = make_prompts(scene.coarse, embedding, POINTS)
    off = replace(LocalRegionOptions(), enabled=False)
    result = refine_local(scene.coarse, scene.image, prompts, embedding, backend, off)
    assert np.array_equal(result.labels, scene.coarse)
    empty = np.zeros_like(scene.coarse)
    none = make_prompts(empty, embedding, POINTS)
    result = refine_local(empty, scene.image, none, embedding, backend, LocalRegionOptions())
    assert np.array_equal(result.labels, empty)
    assert result.decisions == ()


def test_an_object_without_an_answer_keeps_its_shape(scene: Scene) -> None:
    class Silent(FakeBackend):
        def decode(self, embedding, prompts, **options):  # type: ignore[no-untyped-def]
            return super().decode(embedding, prompts, min_score=1.0)

    embedding = Silent().embed(scene.image)
    prompts = make_prompts(scene.coarse, embedding, POINTS)
    result = refine_local(
        scene.coarse, scene.image, prompts, embedding, Silent(), LocalRegionOptions(cascade=2)
    )
    assert np.array_equal(result.labels, scene.coarse)
    assert {d.reason for d in result.decisions} == {"no answer"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"min_agreement": 0.9}, "agreement"),
        ({"min_score": 0.8}, "score"),
        ({}, "accepted"),
        ({"gate": False, "min_score": 1.0}, "accepted"),
    ],
)
def test_the_gate_names_the_first_test_that_fails(change: dict, reason: str) -> None:
    coarse = np.zeros((20, 20), bool)
    coarse[5:15, 5:10] = True
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True  # twice the area, IoU one half
    options = replace(LocalRegionOptions(min_agreement=0.2, min_score=0.5), **change)
    found, agreement = passes(mask, 0.7, coarse, options)
    assert found == reason
    assert agreement == pytest.approx(0.5)


def test_contested_pixels_go_to_the_surer_object_or_to_the_smaller() -> None:
    coarse = np.array([[1, 1, 1, 0, 2, 2]], np.int32)
    one, two = [[1, 1, 1, 1, 0, 0]], [[0, 0, 0, 1, 1, 1]]
    both = redraws([1, 2], [one, two], [[[5, 5, 5, 9, -5, -5]], [[-5, -5, -5, 1, 5, 5]]])
    accepted = np.array([True, True])
    assert merged_map(coarse, both, accepted, 0, "logits").tolist() == [[1, 1, 1, 1, 2, 2]]
    assert merged_map(coarse, both, accepted, 0, "paint").tolist() == [[1, 1, 1, 2, 2, 2]]


def test_what_lies_inside_a_larger_redraw_lies_on_top_of_it() -> None:
    coarse = np.array([[2, 2, 2, 1, 1, 2]], np.int32)
    dog, sofa = [[0, 0, 0, 1, 1, 0]], [[1, 1, 1, 1, 1, 1]]
    surer = [[[-9, -9, -9, 1, 1, -9]], [[7, 7, 7, 7, 7, 7]]]
    both = redraws([1, 2], [dog, sofa], surer)
    accepted = np.array([True, True])
    assert merged_map(coarse, both, accepted, 0, "logits").tolist() == [[2, 2, 2, 1, 1, 2]]
    assert merged_map(coarse, both, np.array([False, True]), 0, "logits").tolist() == [
        [2, 2, 2, 1, 1, 2]
    ]
    # Two redraws of the same thing: the surer has it, the other keeps its coarse shape.
    alike = redraws([1, 2], [sofa, sofa], [[[1] * 6], [[7] * 6]])
    assert (merged_map(coarse, alike, accepted, 0, "logits") == coarse).all()
    # An object that sticks out by more than a tenth is beside the other, not on it.
    out = redraws(
        [1, 2], [[[0, 0, 0, 1, 1, 0]], [[1, 1, 1, 1, 0, 0]]], [surer[0], [[7, 7, 7, 7, -9, -9]]]
    )
    assert merged_map(coarse, out, accepted, 0, "logits").tolist() == [[2, 2, 2, 2, 1, 0]]


def test_claims_decide_about_contested_pixels_where_there_are_any() -> None:
    coarse = np.array([[1, 1, 1, 0, 2, 2]], np.int32)
    masks = [[[1, 1, 1, 1, 0, 0]], [[0, 0, 0, 1, 1, 1]]]
    both = redraws([1, 2], masks, [[[5, 5, 5, 9, -5, -5]], [[-5, -5, -5, 1, 5, 5]]])
    claims = np.zeros_like(both.logits)
    claims[1] = 1
    claimed = replace(both, claims=claims)
    accepted = np.array([True, True])
    assert merged_map(coarse, both, accepted, 0, "logits").tolist() == [[1, 1, 1, 1, 2, 2]]
    assert merged_map(coarse, claimed, accepted, 0, "logits").tolist() == [[1, 1, 1, 2, 2, 2]]


def test_what_an_object_gives_up_becomes_background_or_its_best_claimant() -> None:
    coarse = np.array([[1, 1, 2, 2]], np.int32)
    fewer = redraws([1, 2], [[[1, 0, 0, 0]], [[0, 0, 1, 1]]], [[[5, -4, -5, -5]], [[-5, -1, 5, 5]]])
    accepted = np.array([True, True])
    assert merged_map(coarse, fewer, accepted, 0, "logits").tolist() == [[1, 0, 2, 2]]
    assert merged_map(coarse, fewer, accepted, None, "logits").tolist() == [[1, 2, 2, 2]]


def test_rejected_and_unasked_objects_keep_every_pixel() -> None:
    coarse = np.array([[1, 2, 3, -1]], np.int32)
    greedy = redraws([1, 2], [[[1, 1, 1, 1]], [[1, 1, 1, 1]]])
    merged = merged_map(coarse, greedy, np.array([True, False]), 0, "logits")
    assert merged.tolist() == [[1, 2, 3, -1]]


@settings(max_examples=150, deadline=None)
@given(
    coarse=arrays(np.int32, (6, 7), elements=st.integers(-1, 4)),
    masks=arrays(bool, (4, 6, 7)),
    logits=arrays(np.float32, (4, 6, 7), elements=st.floats(-8, 8, width=32)),
    accepted=arrays(bool, 4),
    background=st.sampled_from([0, None]),
    rule=st.sampled_from(["logits", "paint"]),
)
def test_no_label_is_erased_or_invented(coarse, masks, logits, accepted, background, rule) -> None:  # type: ignore[no-untyped-def]
    labels = [label for label in (1, 2, 3, 4) if (coarse == label).any()]
    take = len(labels)
    merged = merged_map(
        coarse,
        redraws(labels, list(masks[:take]), list(logits[:take])) if take else redraws([], []),
        accepted[:take],
        background,
        rule,
    )
    assert np.array_equal(merged == -1, coarse == -1)
    for label in labels:
        assert (merged == label).any()
    allowed = {*np.unique(coarse).tolist(), *([] if background is None else [background])}
    assert set(np.unique(merged).tolist()) <= allowed


def proposals(masks: np.ndarray, scores: list[float], rows: list[int]) -> Proposals:
    return Proposals(
        masks=masks,
        scores=np.array(scores, np.float32),
        stability=np.ones(len(scores), np.float32),
        logits=np.where(masks, 4.0, -4.0).astype(np.float32),
        row=np.array(rows, np.int64),
    )


def test_the_rule_chooses_among_a_rows_masks() -> None:
    asked = np.zeros((1, 8, 8), bool)
    asked[0, :4] = True
    masks = np.zeros((3, 8, 8), bool)
    masks[0, :5] = True  # agrees best
    masks[1, 2:8] = True  # scores best
    found = proposals(masks, [0.5, 0.9, 0.99], [0, 0, 0])  # the third is empty
    assert choose(found, asked, None, "agreement")[0].score == pytest.approx(0.5)
    assert choose(found, asked, None, "score")[0].score == pytest.approx(0.9)
    assert choose(found, asked, None, "product")[0].score == pytest.approx(0.5)


def test_an_answer_that_repeats_the_prompt_stands_for_the_coarse_shape() -> None:
    asked = np.zeros((1, 8, 8), bool)
    asked[0, :4] = True
    masks = np.stack([asked[0], np.roll(asked[0], 2, axis=0)])
    prompted = np.where(asked, 8.0, -8.0).astype(np.float32)
    kept = choose(proposals(masks, [0.75, 0.70], [0, 0]), asked, prompted, "score")[0]
    assert not kept.changed
    assert np.array_equal(kept.mask, asked[0])
    assert choose(proposals(masks, [0.70, 0.75], [0, 0]), asked, prompted, "score")[0].changed


def test_parts_of_a_label_are_united(scene: Scene) -> None:
    embedding = FakeBackend().embed(scene.image)
    coarse = np.where(scene.target > 0, 5, 0).astype(np.int32)  # disc and box are one class
    options = replace(POINTS, split=True)
    prompts = make_prompts(coarse, embedding, options)
    assert prompts.labels.tolist() == [5, 5]
    chosen = decode_cascade(prompts, embedding, FakeBackend(), steps=2, rule="score")
    united = unite(chosen, prompts.labels.tolist(), embedding)
    assert united.labels.tolist() == [5]
    assert iou(united.masks[0], coarse == 5) > 0.97


@pytest.mark.parametrize(("changed", "expected"), [(True, [0, 36]), (False, [1, 35])])
def test_specks_of_a_redraw_go_and_those_of_a_coarse_shape_stay(
    changed: bool, expected: list[int]
) -> None:
    mask = np.zeros((12, 12), bool)
    mask[1:7, 1:7] = True
    mask[3, 3] = False
    mask[11, 11] = True
    found = Candidate(mask=mask, logits=np.zeros((12, 12), np.float32), score=0.9, changed=changed)
    united = unite({0: found}, [4], embedding_of((12, 12)), 0.1)
    assert [int(united.masks[0][11, 11]), int(united.masks[0][:8, :8].sum())] == expected


def test_prompts_that_stand_for_no_region_are_refused(scene: Scene) -> None:
    embedding = FakeBackend().embed(scene.image)
    bare = Prompts(
        points=np.zeros((1, 1, 2), np.float32),
        point_labels=np.ones((1, 1), np.int8),
        labels=np.ones(1, np.int32),
    )
    with pytest.raises(InputError, match="must carry the regions they ask about"):
        decode_cascade(bare, embedding, FakeBackend(), steps=1, rule="score")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_score": 2.0}, r"local_region.min_score must be in \[0, 1\], got 2.0"),
        ({"cascade": 0}, "local_region.cascade must be at least 1, got 0"),
        ({"rounds": 0}, "local_region.rounds must be at least 1, got 0"),
        ({"choose": "luck"}, "local_region.choose must be one of .*, got 'luck'"),
        ({"merge": "glue"}, "local_region.merge must be one of logits, paint, got 'glue'"),
    ],
)
def test_options_out_of_range_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(LocalRegionOptions(), **change)
