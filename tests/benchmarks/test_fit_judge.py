"""The judge's fit: coarse maps of every kind, what is measured, and trees that survive the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks.fit_judge import as_table, as_trees, collect, fit, held_back, join, report
from benchmarks.judge_masks import KINDS, draw_question, match_question
from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.labels import iou
from uosam.stages.judging.evidence import FEATURES
from uosam.stages.judging.judge import read_judge
from uosam.stages.prompts import PromptOptions

REGIONS = np.zeros((96, 128), np.int32)
REGIONS[20:70, 15:60] = 1
REGIONS[30:80, 75:115] = 2


@pytest.mark.parametrize("kind", KINDS[:3])
def test_coarse_maps_are_of_the_objects_of_a_picture(kind: str) -> None:
    generator = np.random.default_rng(3)
    agreement = []
    for _ in range(12):
        question = draw_question(REGIONS, kind, generator)
        assert question is not None
        assert question.coarse.shape == REGIONS.shape
        for label in np.unique(question.coarse).tolist():
            if label != question.background and question.truth(label).any():
                agreement.append(iou(question.coarse == label, question.truth(label)))
    mean = float(np.mean(agreement))
    assert {"imitated": 0.4 < mean < 0.9, "near": mean > 0.85, "network": 0.3 < mean < 0.75}[kind]


def test_a_networks_object_stands_for_the_region_it_overlaps_best() -> None:
    coarse = np.zeros_like(REGIONS)
    coarse[20:50, 20:70] = 12  # on the first region, beside it, and a little on the second
    coarse[85:95, 5:40] = 3  # on nothing
    question = match_question(coarse, REGIONS)
    assert np.array_equal(question.truth(12), REGIONS == 1)
    assert not question.truth(3).any()
    assert question.background == 0


def test_a_map_without_objects_asks_nothing() -> None:
    plain = np.zeros((64, 64), np.int32)
    assert draw_question(plain, "network", np.random.default_rng(0)) is None


def test_every_answer_is_measured_and_compared_with_the_truth(tmp_path: Path, scene: Scene) -> None:
    PIL.Image.fromarray(scene.image).save(tmp_path / "a.jpg", quality=95)
    PIL.Image.fromarray(scene.target.astype(np.uint8)).save(tmp_path / "a.0.png")
    kinds = ("again", "first", "close")
    generator = np.random.default_rng(0)
    rows = list(
        collect([("x", tmp_path / "a.jpg")], FakeBackend(), PromptOptions(), kinds, generator)
    )
    table = as_table(rows)
    assert table["evidence"].shape == (len(rows), len(FEATURES))
    assert set(table["masks"]) <= set(range(len(KINDS)))
    # The fake floods the object itself: nearly the truth, wherever the mask lies on it.
    again = (table["kind"] == 0) & (table["coarse"] > 0.3)
    assert again.any()
    assert (table["gain"] + table["coarse"])[again].min() > 0.8
    both = join([table, table])
    assert len(np.unique(both["object"])) == 2 * len(np.unique(table["object"]))


def test_trees_answer_as_the_model_they_were_read_from() -> None:
    generator = np.random.default_rng(1)
    rows = 1200
    evidence = generator.random((rows, len(FEATURES)), np.float32)
    good = evidence[:, FEATURES.index("score")] - 0.5
    table = {
        "evidence": evidence,
        "gain": good + 0.01 * generator.standard_normal(rows),
        "coarse": np.full(rows, 0.5),
        "picture": np.arange(rows) // 20,
        "object": np.arange(rows) // 4,
        "kind": np.tile(np.arange(4), rows // 4),
        "masks": np.arange(rows) // 4 % 3,
    }
    names = ["size_old", "score", "growth"]
    model = fit(table, names)
    start, trees = as_trees(model)
    stored = {"kinds": ["first"], "features": names, "start": start, "trees": trees}
    judge = read_judge(json.dumps(stored))
    columns = [FEATURES.index(name) for name in names]
    expected = np.clip(model.predict(evidence[:, columns]), -1, 1)
    assert judge.expected_gain(evidence) == pytest.approx(expected, abs=2e-3)
    lines = report(table, held_back(table, names))
    assert len(lines) == 3
    # Nothing but the score matters, and it is known: no object is harmed, most chances are taken.
    for line in lines:
        assert "harmed 0.0 %, kept" in line
