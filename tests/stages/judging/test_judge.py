"""The fitted gate: its file, its arithmetic, and what becomes of objects under it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.errors import InputError
from uosam.labels import iou
from uosam.pipeline import DEFAULTS, refine
from uosam.stages.judging.candidates import candidates
from uosam.stages.judging.evidence import FEATURES, evidence, lay_ground
from uosam.stages.judging.judge import Judge, judge_of, packaged_judge, read_judge
from uosam.stages.prompts import PromptOptions, make_prompts
from uosam.structures import Prompts

KINDS = ("again", "first", "large", "close", "blend", "box", "wide", "points", "joined")
"""All that a segmenter can answer which does not know the whole."""


def judge_by(feature: str, threshold: float, below: float, above: float) -> Judge:
    """A judge of one tree with one question."""
    return read_judge(
        json.dumps(
            {
                "kinds": KINDS,
                "features": [feature],
                "start": 0.0,
                "trees": [[[0, threshold, 1], [below], [above]]],
            }
        )
    )


class Judged(FakeBackend):
    def __init__(self, judge: Judge) -> None:
        self.judge = judge


def test_trees_add_up() -> None:
    judge = read_judge(
        json.dumps(
            {
                "kinds": ["first"],
                "features": ["growth", "score"],
                "start": 0.1,
                "trees": [
                    [[1, 0.5, 1], [-0.3], [0, 2.0, 3], [0.05], [-0.2]],
                    [[0.01]],
                ],
            }
        )
    )
    rows = np.zeros((3, len(FEATURES)), np.float32)
    rows[:, FEATURES.index("score")] = [0.5, 0.6, 0.9]
    rows[:, FEATURES.index("growth")] = [9.0, 2.0, 2.5]
    assert judge.expected_gain(rows) == pytest.approx([-0.19, 0.16, -0.09], abs=1e-6)


@pytest.mark.parametrize("name", ["features", "kinds"])
def test_a_judge_of_another_version_is_refused(name: str) -> None:
    stored = {"kinds": ["first"], "features": ["score"], "start": 0.0, "trees": [[[0.0]]]}
    stored[name] = ["colour of the sky"]
    with pytest.raises(InputError, match=f"the judge's {name} must be among .*fit it again"):
        read_judge(json.dumps(stored))


def test_the_packaged_judges_can_be_read() -> None:
    for package in ("uosam.backends.sam", "uosam.backends.graphcut"):
        judge = packaged_judge(package)
        assert judge is not None
        assert len(judge.kinds) > 3
    assert packaged_judge("uosam.backends.hf") is None
    assert judge_of(FakeBackend()) is None


def test_an_object_keeps_its_shape_where_no_gain_is_expected(scene: Scene) -> None:
    never = Judged(judge_by("score", 0.5, -0.1, 0.0))
    result = refine(scene.image, scene.coarse, never)
    assert np.array_equal(result.labels, scene.coarse)
    assert {d.reason for d in result.verdicts} == {"no gain"}
    assert [d.gain for d in result.verdicts] == [0.0, 0.0]


def test_the_answer_of_highest_expected_gain_is_taken(scene: Scene) -> None:
    always = Judged(judge_by("is_first", 0.5, 0.1, 0.2))
    result = refine(scene.image, scene.coarse, always)
    for label in (1, 2):
        assert iou(result.labels == label, scene.target == label) > 0.97
    assert {d.answer for d in result.verdicts} == {"first"}
    assert [d.gain for d in result.verdicts] == pytest.approx([0.2, 0.2])
    # Without the judge the rule decides, and it has no expectation.
    options = replace(DEFAULTS, local_region=replace(DEFAULTS.local_region, judge=False))
    ruled = refine(scene.image, scene.coarse, always, options)
    assert {d.answer for d in ruled.verdicts} == {""}
    assert {d.reason for d in ruled.verdicts} == {"accepted"}


def test_every_kind_of_answer_is_measured(scene: Scene) -> None:
    coarse = np.where(scene.coarse > 0, 5, 0).astype(np.int32)  # disc and box are one class
    backend = FakeBackend()
    embedding = backend.embed(scene.image)
    prompts = make_prompts(coarse, embedding, PromptOptions())
    ground = lay_ground(coarse, scene.image, embedding, 0)
    ((label, found),) = candidates(prompts, embedding, backend, KINDS)
    assert label == 5
    assert [answer.kind for answer in found] == list(KINDS)
    rows = evidence(5, coarse == 5, 2, found, embedding, ground)
    assert rows.shape == (len(KINDS), len(FEATURES))
    assert np.isfinite(rows).all()
    column = {name: rows[:, index] for index, name in enumerate(FEATURES)}
    for index, answer in enumerate(found):
        assert column["agreement"][index] == pytest.approx(iou(answer.mask, coarse == 5), abs=0.15)
        assert column[f"is_{answer.kind}"][index] == 1
    # The answer near the coarse shape cannot leave it by much.
    assert column["agreement"][KINDS.index("close")] > 0.7
    assert (column["parts"] == 2).all()
    assert (column["on_others"] == 0).all()


def test_many_objects_are_asked_some_at_a_time(scene: Scene, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    backend = FakeBackend()
    embedding = backend.embed(scene.image)
    prompts = make_prompts(scene.coarse, embedding, PromptOptions())
    together = list(candidates(prompts, embedding, backend, KINDS))
    monkeypatch.setattr("uosam.stages.judging.candidates._ROWS", 1)
    apart = list(candidates(prompts, embedding, backend, KINDS))
    assert [label for label, _ in together] == [label for label, _ in apart]
    for (_, some), (_, others) in zip(together, apart, strict=True):
        assert [a.kind for a in some] == [a.kind for a in others]
        for one, other in zip(some, others, strict=True):
            assert np.array_equal(one.mask, other.mask)


def test_candidates_need_the_regions_that_are_asked_about(scene: Scene) -> None:
    embedding = FakeBackend().embed(scene.image)
    bare = Prompts(
        points=np.zeros((1, 1, 2), np.float32),
        point_labels=np.ones((1, 1), np.int8),
        labels=np.ones(1, np.int32),
    )
    with pytest.raises(InputError, match="must carry the regions they ask about"):
        next(candidates(bare, embedding, FakeBackend(), KINDS))


class Widening(FakeBackend):
    """Answers with what is under the mask prompt, and with twice of it where the whole is asked."""

    answers_whole = True

    def decode(self, embedding, prompts, **options):  # type: ignore[no-untyped-def]
        found = super().decode(embedding, prompts, **options)
        if prompts.whole is None:
            return found
        whole = prompts.whole[found.row]
        masks = found.masks.copy()
        masks[whole] = True
        logits = np.where(whole[:, None, None], 9.0, found.logits).astype(np.float32)
        return replace(found, masks=masks, logits=logits)


def test_the_whole_is_asked_for_where_the_segmenter_knows_it(scene: Scene) -> None:
    kinds = ("first", "whole_first", "joined", "joined_whole")
    for backend in (FakeBackend(), Widening()):
        embedding = backend.embed(scene.image)
        coarse = np.where(scene.coarse > 0, 5, 0).astype(np.int32)
        prompts = make_prompts(coarse, embedding, PromptOptions())
        ((_, found),) = candidates(prompts, embedding, backend, kinds)
        answers = {answer.kind: answer.mask for answer in found}
        if isinstance(backend, Widening):
            assert list(answers) == list(kinds)
            assert answers["whole_first"].all()
            assert answers["joined_whole"].all()
        else:
            assert list(answers) == ["first", "joined"]
        assert not answers["first"].all()
