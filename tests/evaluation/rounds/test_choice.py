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
    """Pixel by pixel: the id of the largest sum of confidence; of equals what the newest says."""
    labels, support = np.full(maps[0].shape, IGNORE), np.zeros(maps[0].shape)
    for place in np.ndindex(maps[0].shape):
        sums = {}
        for own, values in zip(maps, sure, strict=True):
            if own[place] >= 0:
                sums[own[place]] = sums.get(own[place], 0) + float(values[place])
        for own in reversed(maps):
            if own[place] >= 0 and sums[own[place]] == max(sums.values()):
                labels[place], support[place] = own[place], sums[own[place]] / len(maps)
                break
    return labels, support


@pytest.mark.parametrize("seed", range(8))
def test_the_choice_is_that_of_the_rule(seed):
    rng = np.random.default_rng(seed)
    maps = [rng.integers(-1, 3, (5, 6)).astype(np.int32) for _ in range(2 + seed % 3)]
    sure = [rng.integers(0, 5, (5, 6)).astype(np.float32) / 4 for _ in maps]
    found = choose(maps, sure)
    labels, support = plain_choice(maps, sure)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.support, support, rtol=1e-6)
    for i, own in enumerate(maps):
        assert found.agreements[i] == pytest.approx(plain_overlap(own, labels))
        assert found.shares[i] == pytest.approx((own == labels)[labels >= 0].mean())


def test_an_outlier_is_not_kept_however_new():
    good = np.repeat(np.arange(2, dtype=np.int32), 8)[None].repeat(8, 0)
    wild = 1 - good
    even = np.full((8, 16), 0.5, np.float32)
    np.testing.assert_array_equal(choose([good, good, wild], [even] * 3).labels, good)
    # Of two there is no majority: refining decides, and of equals the newer is kept.
    np.testing.assert_array_equal(choose([good, wild], [even, even]).labels, wild)
    np.testing.assert_array_equal(choose([good, wild], [even + 0.1, even]).labels, good)
    alone = choose([wild], [np.ones_like(even)])
    assert (alone.shares, alone.agreements, alone.confidences) == ((1.0,), (1.0,), (1.0,))
    assert (alone.support == 1).all()


def test_what_one_round_is_sure_of_outlasts_those_that_lost_it():
    first = np.zeros((6, 20), np.int32)
    first[2:4] = 1  # something thin that two students no longer see
    sure = np.where(first == 1, 0.95, 0.6).astype(np.float32)
    lost, doubt = np.zeros_like(first), np.full(first.shape, 0.4, np.float32)
    kept = choose([first, lost, lost], [sure, doubt, doubt])
    np.testing.assert_array_equal(kept.labels, first)
    assert kept.support[2, 0] == pytest.approx(0.95 / 3)
    assert kept.support[0, 0] == pytest.approx(1.4 / 3)


def test_what_is_unknown_says_nothing():
    unknown = np.full((2, 2), IGNORE, np.int32)
    assert overlap(unknown, np.zeros((2, 2), np.int32)) == 1
    assert mean_confidence(unknown, np.ones((2, 2), np.float32)) == 0
    nothing = choose([unknown], [np.ones((2, 2), np.float32)])
    assert (nothing.labels == IGNORE).all()
    assert (nothing.support == 0).all()


def test_ids_that_changed_places_are_told():
    assert compare_counts({(0, 0): 5, (1, 1): 5}) == ((), ())
    assert compare_counts({(0, 0): 5, (1, 0): 2, (2, 2): 1}) == ((1,), ())
    assert compare_counts({(0, 1): 5, (1, 2): 5, (2, 0): 5}) == ((), (0, 1, 2))
    assert compare_counts({}) == ((), ())
