"""The judge's fit: coarse maps of every kind, what is measured, and trees that survive the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks.fit_judge import as_trees, fit, held_back, judge_text, report
from benchmarks.judge_masks import KINDS, draw_question, match_question
from benchmarks.judge_table import as_table, choose_pictures, collect
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
    picture = [("x", tmp_path / "a.jpg")]
    rows = list(collect(picture, FakeBackend(), PromptOptions(), kinds))
    table = as_table(rows)
    assert table["evidence"].shape == (len(rows), len(FEATURES))
    assert set(table["masks"]) <= set(range(len(KINDS)))
    # The fake floods the object itself: nearly the truth, wherever the mask lies on it.
    again = (table["kind"] == 0) & (table["coarse"] > 0.3)
    assert again.any()
    assert (table["gain"] + table["coarse"])[again].min() > 0.8
    # Where a network has made a map, its objects come first, and one more map is drawn.
    (tmp_path / "made" / "x").mkdir(parents=True)
    coarse = PIL.Image.fromarray(scene.coarse.astype(np.uint8))
    coarse.save(tmp_path / "made" / "x" / "a.png")
    mapped = as_table(
        list(collect(picture, FakeBackend(), PromptOptions(), kinds, made=tmp_path / "made"))
    )
    assert KINDS[mapped["masks"][0]] == "made"
    assert set(mapped["masks"]) <= {0, 3}
    assert (mapped["gain"] + mapped["coarse"])[mapped["masks"] == 3].max() > 0.85


def test_parts_of_a_table_are_the_table(tmp_path: Path, scene: Scene) -> None:
    pictures = []
    for name in "abc":
        PIL.Image.fromarray(scene.image).save(tmp_path / f"{name}.jpg", quality=95)
        PIL.Image.fromarray(scene.target.astype(np.uint8)).save(tmp_path / f"{name}.0.png")
        pictures.append(("x", tmp_path / f"{name}.jpg"))
    whole, *halves = (
        as_table(list(collect(pictures, FakeBackend(), PromptOptions(), ("first",), part=part)))
        for part in ((0, 1), (0, 2), (1, 2))
    )
    assert set(halves[0]["picture"]) == {0, 2}
    assert not set(halves[0]["object"]) & set(halves[1]["object"])
    for half in halves:
        own = np.isin(whole["picture"], half["picture"])
        assert np.array_equal(half["evidence"], whole["evidence"][own])
        assert np.array_equal(half["gain"], whole["gain"][own])


def test_pictures_with_a_networks_map_are_all_taken(tmp_path: Path) -> None:
    for source, amount in (("voc", 60), ("human", 3)):
        (tmp_path / "data" / source).mkdir(parents=True)
        for number in range(amount):
            (tmp_path / "data" / source / f"{number:02d}.jpg").touch()
    (tmp_path / "made" / "voc").mkdir(parents=True)
    for number in range(5):
        (tmp_path / "made" / "voc" / f"{number:02d}.png").touch()
    root, made = tmp_path / "data", tmp_path / "made"
    chosen = choose_pictures(root, made, np.random.default_rng(0))
    assert chosen == choose_pictures(root, made, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen)) == 5 + 36 + 3
    assert {("voc", root / "voc" / f"{number:02d}.jpg") for number in range(5)} <= set(chosen)
    assert len(choose_pictures(root, None, np.random.default_rng(0))) == 36 + 3


def synthetic(rows: int = 1200) -> dict[str, np.ndarray]:
    """A table in which the score tells all."""
    generator = np.random.default_rng(1)
    evidence = generator.random((rows, len(FEATURES)), np.float32)
    good = evidence[:, FEATURES.index("score")] - 0.5
    gain = good + 0.01 * generator.standard_normal(rows)
    return {
        "evidence": evidence,
        "gain": gain,
        "boundary_gain": gain,
        "coarse": np.full(rows, 0.5),
        "picture": np.arange(rows) // 20,
        "object": np.arange(rows) // 4,
        "kind": np.tile(np.arange(4), rows // 4),
        "masks": np.arange(rows) // 4 % 3,
    }


def test_the_same_table_gives_the_same_file() -> None:
    text = judge_text(synthetic(), ["first", "again"])
    assert text == judge_text(synthetic(), ["first", "again"])
    judge = read_judge(text)
    assert judge.kinds == ("first", "again")
    names = [FEATURES[column] for column in judge.columns]
    assert "is_first" in names
    assert "is_blend" not in names
    other = synthetic()
    other["gain"] = -other["gain"]
    other["boundary_gain"] = -other["boundary_gain"]
    assert judge_text(other, ["first", "again"]) != text


def test_trees_answer_as_the_model_they_were_read_from() -> None:
    table = synthetic()
    evidence = table["evidence"]
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
