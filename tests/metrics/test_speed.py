from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks import plain_luss, speed, speed_evaluation, speed_scoring
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions


@pytest.fixture(autouse=True)
def _threads():
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


@pytest.mark.parametrize("present", [1, 4, 30])
def test_both_sides_of_the_benchmark_give_the_same_scores(present):
    rng = np.random.default_rng(present)
    speed_evaluation.check_equal([speed_evaluation.shifted_blobs(rng, present) for _ in range(2)])


def test_a_row_names_ratios_and_machine(monkeypatch, tmp_path):
    result = speed_evaluation.evaluation(images=1, repeats=1)
    assert [row["present"] for row in result["rows"]] == [1, 4, 30]
    assert all(row["ratio"] > 0 for row in result["rows"])
    assert {"commit", "numpy", "opencv", "cpu", "cores"} <= set(speed.facts())


def test_the_plain_way_in_two_passes_gives_the_same_scores(tmp_path, monkeypatch):
    monkeypatch.setattr(speed_evaluation, "CLASSES", 5)  # else no class is in two images
    speed_scoring.write_maps(tmp_path, images=8, present=4)
    options = EvaluateOptions(protocol="luss-919", solver="scipy", resamples=0)
    ours = evaluate([tmp_path / "pred"], tmp_path / "gt", options).scores
    plain = plain_luss.score_in_two_passes(tmp_path)
    assert plain == pytest.approx({name: ours[name] for name in plain}, abs=1e-7)
    assert plain["mIoU"] > 0.002


def test_programs_are_timed_beside_each_other():
    ways = ("uosam", "plain, one pass", "uosam 2")
    row = speed_scoring.scoring(images=2, repeats=1, ways=ways)
    assert set(row["ways"]) == set(row["ratios"]) == set(ways)
    assert row["ratios"]["uosam"] == 1
    assert all(times["processor"] > 0 for times in row["ways"].values())
