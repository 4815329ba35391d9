from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks import speed, speed_evaluation


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
