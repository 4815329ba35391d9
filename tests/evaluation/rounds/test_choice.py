"""What is kept, beside a plain reading of the rule."""

import numpy as np
import pytest

from uosam.evaluation.rounds.choice import choose, mean_confidence, overlap
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


def plain_choice(maps, sure):
    """Product of mean overlap with all and mean confidence; of equals the latest."""
    best, index = -1.0, -1
    for i, own in enumerate(maps):
        agreed = sum(plain_overlap(own, other) for other in maps) / len(maps)
        values = [sure[i][p] for p in np.ndindex(own.shape) if own[p] >= 0]
        worth = agreed * sum(values) / len(values)
        if worth >= best - 1e-12:
            best, index = max(best, worth), i
    return index


@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_that_of_the_rule(seed):
    rng = np.random.default_rng(seed)
    maps = [rng.integers(-1, 3, (5, 6)).astype(np.int32) for _ in range(2 + seed % 3)]
    sure = [rng.random((5, 6)).astype(np.float32) for _ in maps]
    found = choose(maps, sure)
    assert found.index == plain_choice(maps, sure)
    for i, own in enumerate(maps):
        expected = np.mean([plain_overlap(own, other) for other in maps])
        assert found.agreements[i] == pytest.approx(expected)
    np.testing.assert_allclose(
        found.shares, np.mean([m == maps[found.index] for m in maps], axis=0), rtol=1e-6
    )


def test_an_outlier_is_not_kept_however_new():
    good = np.repeat(np.arange(2, dtype=np.int32), 8)[None].repeat(8, 0)
    wild = 1 - good
    even = np.full((8, 16), 0.5, np.float32)
    assert choose([good, good, wild], [even] * 3).index == 1
    # Of two there is no majority: refining decides, and of equals the newer is kept.
    assert choose([good, wild], [even, even]).index == 1
    assert choose([good, wild], [even + 0.1, even]).index == 0
    alone = choose([wild], [np.ones_like(even)])
    assert (alone.index, alone.agreements, alone.confidences) == (0, (1.0,), (1.0,))


def test_what_is_unknown_says_nothing():
    unknown = np.full((2, 2), IGNORE, np.int32)
    assert overlap(unknown, np.zeros((2, 2), np.int32)) == 1
    assert mean_confidence(unknown, np.ones((2, 2), np.float32)) == 0


def test_ids_that_changed_places_are_told():
    assert compare_counts({(0, 0): 5, (1, 1): 5}) == ((), ())
    assert compare_counts({(0, 0): 5, (1, 0): 2, (2, 2): 1}) == ((1,), ())
    assert compare_counts({(0, 1): 5, (1, 2): 5, (2, 0): 5}) == ((), (0, 1, 2))
    assert compare_counts({}) == ((), ())
