"""What is kept, beside a plain reading of the rule."""

import numpy as np
import pytest

from uosam.evaluation.rounds.choice import choose, mean_probability, overlap
from uosam.evaluation.rounds.record import compare_counts
from uosam.structures import IGNORE


def plain_overlap(a, b):
    """Mean IoU over the ids of either, set by set."""
    known = {(y, x) for y, x in np.ndindex(a.shape) if a[y, x] >= 0 and b[y, x] >= 0}
    ious = []
    for label in {m[p] for m in (a, b) for p in known}:
        first, second = ({p for p in known if m[p] == label} for m in (a, b))
        ious.append(len(first & second) / len(first | second))
    return sum(ious) / len(ious)


def plain_choice(maps, probabilities):
    """Product of mean overlap with all and mean probability; of equals the latest."""
    best, index = -1.0, -1
    for i, own in enumerate(maps):
        agreed = sum(plain_overlap(own, other) for other in maps) / len(maps)
        sure = [probabilities[own[p], p[0], p[1]] for p in np.ndindex(own.shape) if own[p] >= 0]
        worth = agreed * sum(sure) / len(sure)
        if worth >= best - 1e-12:
            best, index = max(best, worth), i
    return index


@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_that_of_the_rule(seed):
    rng = np.random.default_rng(seed)
    maps = [rng.integers(-1, 3, (5, 6)).astype(np.int32) for _ in range(2 + seed % 3)]
    probabilities = rng.dirichlet(np.ones(3), (5, 6)).transpose(2, 0, 1).astype(np.float32)
    found = choose(maps, probabilities)
    assert found.index == plain_choice(maps, probabilities)
    for i, own in enumerate(maps):
        expected = np.mean([plain_overlap(own, other) for other in maps])
        assert found.agreements[i] == pytest.approx(expected)
    np.testing.assert_allclose(
        found.shares, np.mean([m == maps[found.index] for m in maps], axis=0), rtol=1e-6
    )


def test_an_outlier_is_not_kept_however_new():
    good = np.repeat(np.arange(2, dtype=np.int32), 8)[None].repeat(8, 0)
    wild = 1 - good
    flat = np.full((2, 8, 16), 0.5, np.float32)
    assert choose([good, good, wild], flat).index == 1
    # Of two there is no majority: the student decides, and of equals the newer is kept.
    assert choose([good, wild], flat).index == 1
    sure = np.stack([good == 0, good == 1]).astype(np.float32)
    assert choose([good, wild], sure).index == 0
    alone = choose([wild], None)
    assert (alone.index, alone.agreements, alone.confidences) == (0, (1.0,), (1.0,))


def test_what_is_unknown_says_nothing():
    unknown = np.full((2, 2), IGNORE, np.int32)
    assert overlap(unknown, np.zeros((2, 2), np.int32)) == 1
    assert mean_probability(unknown, np.ones((2, 2, 2), np.float32)) == 0
    assert mean_probability(np.array([[0, 5]], np.int32), np.ones((2, 1, 2), np.float32)) == 0.5


def test_ids_that_changed_places_are_told():
    assert compare_counts({(0, 0): 5, (1, 1): 5}) == ((), ())
    assert compare_counts({(0, 0): 5, (1, 0): 2, (2, 2): 1}) == ((1,), ())
    assert compare_counts({(0, 1): 5, (1, 2): 5, (2, 0): 5}) == ((), (0, 1, 2))
    assert compare_counts({}) == ((), ())
