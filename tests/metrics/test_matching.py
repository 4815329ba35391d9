from __future__ import annotations

import tracemalloc
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uosam.errors import InputError
from uosam.metrics.matching import ambiguous_rows, assign, check_match

# What the Munkres package answers for -gain, by version, where gain is tied(seed).
ANSWERS = [
    (0, [0, 1, 4, 9, 7, 2, 8, 10, 5, 6, 11, 3], [0, 1, 4, 9, 7, 2, 8, 10, 5, 6, 11, 3]),
    (1, [3, 9, 0, 11, 8, 10, 2, 1, 5, 7, 4, 6], [3, 1, 0, 11, 8, 9, 2, 10, 5, 7, 4, 6]),
    (2, [5, 0, 1, 9, 3, 8, 2, 6, 4, 7, 10, 11], [5, 0, 4, 9, 3, 8, 2, 6, 1, 7, 10, 11]),
    (3, [6, 5, 2, 0, 7, 8, 3, 4, 10, 1, 9, 11], [6, 5, 2, 0, 7, 8, 3, 4, 10, 1, 9, 11]),
    (4, [2, 4, 5, 0, 8, 6, 9, 11, 7, 1, 3, 10], [2, 4, 5, 0, 8, 6, 9, 11, 7, 1, 3, 10]),
    (5, [0, 5, 3, 4, 9, 8, 11, 7, 10, 6, 1, 2], [0, 9, 3, 4, 1, 8, 11, 5, 10, 6, 7, 2]),
]


def tied(seed, size=12):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, (size, size)) * (rng.random((size, size)) < 0.5)


@pytest.mark.parametrize(("seed", "version_1", "version_3"), ANSWERS)
def test_ties_fall_as_in_the_munkres_package(seed, version_1, version_3):
    assert assign(tied(seed), "munkres-1").tolist() == version_1  # 1.1.4
    assert assign(tied(seed), "munkres-3").tolist() == version_3  # 3.0.0, compiled kernel


def test_ties_fall_as_in_the_installed_munkres_package():
    munkres = pytest.importorskip("munkres")
    version = munkres.__version__.split(".")[0]
    for seed in range(40):
        gain = tied(seed, 1 + seed % 25)
        expected = [column for _, column in sorted(munkres.Munkres().compute((-gain).tolist()))]
        assert assign(gain, f"munkres-{version}").tolist() == expected


@given(st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_every_solver_finds_an_optimum(size, seed):
    gain = tied(seed, size)
    best = max(sum(gain[i, p[i]] for i in range(size)) for p in permutations(range(size)))
    for solver in ("munkres-1", "munkres-3", "scipy"):
        columns = assign(gain, solver)
        assert sorted(columns) == list(range(size))
        assert gain[np.arange(size), columns].sum() == best


@given(st.integers(1, 5), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_ambiguous_rows_are_those_that_another_optimum_pairs_with_gain(size, seed):
    gain = tied(seed, size)
    totals = {p: sum(gain[i, p[i]] for i in range(size)) for p in permutations(range(size))}
    optima = [p for p, total in totals.items() if total == max(totals.values())]
    columns = assign(gain, "munkres-3")
    found = set(ambiguous_rows(gain, columns).tolist())
    # A row whose own gain changes between optima must be reported, and only rows that move can be.
    must = {i for p in optima for i in range(size)
            if p[i] != columns[i] and gain[i, p[i]] != gain[i, columns[i]]}  # fmt: skip
    may = {i for p in optima for i in range(size) if p[i] != columns[i]}
    assert must <= found <= may


def test_empty_and_large_problems():
    for solver in ("munkres-1", "munkres-3"):
        assert assign(np.zeros((0, 0), int), solver).tolist() == []
    rng = np.random.default_rng(0)
    gain = rng.poisson(0.05, (300, 300)) + np.diag(rng.poisson(3, 300))
    totals = {s: gain[np.arange(300), assign(gain, s)].sum() for s in ("munkres-1", "munkres-3")}
    assert set(totals.values()) == {gain[np.arange(300), assign(gain, "scipy")].sum()}


def test_only_square_matrices():
    with pytest.raises(InputError, match=r"square matrix, got shape \(2, 3\)"):
        assign(np.zeros((2, 3)), "munkres-3")


@pytest.mark.parametrize(
    ("match", "text"),
    [
        ({1: 2, 3: 2}, r"\[1, 3\] all become 2"),
        ({1: 9}, "1 -> 9 is outside 0 to 4"),
        ({-1: 1}, "-1 -> 1 is outside"),
        ({0: 1}, "background 0 becomes 1"),
    ],
)
def test_a_match_is_one_to_one_within_range(match, text):
    with pytest.raises(InputError, match=text):
        check_match(match, 5, background=0)
    check_match({0: 0, 1: 2, 2: 1}, 5, background=0)


def best_pairings(gain):
    """Every optimal pairing of a matrix of any shape, as (n,) columns with -1 for none."""
    rows, cols = gain.shape
    slots = [*range(cols), *[-1] * max(0, rows - cols)]
    totals = {
        p: sum(int(gain[i, c]) for i, c in enumerate(p) if c >= 0)
        for p in set(permutations(slots, rows))
    }
    return [p for p, total in totals.items() if total == max(totals.values())]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10_000))
@settings(max_examples=80, deadline=None)
def test_more_clusters_than_classes_or_fewer(rows, cols, seed):
    gain = np.random.default_rng(seed).integers(0, 3, (rows, cols))
    optima = best_pairings(gain)
    columns = assign(gain)
    assert tuple(columns.tolist()) in optima
    found = set(ambiguous_rows(gain, columns).tolist())

    def value(pairing, row):
        return int(gain[row, pairing[row]]) if pairing[row] >= 0 else 0

    must = {i for p in optima for i in range(rows) if value(p, i) != value(columns, i)}
    may = {i for p in optima for i in range(rows) if p[i] != columns[i]}
    assert must <= found <= may


def test_exchanges_without_gain_count_where_absent_classes_are_left_out():
    """Cluster 1 meets no class; taking it for class 2, which has no pixels, makes a class of 0."""
    gain = np.array([[5, 0, 0], [0, 0, 0], [0, 0, 0]])
    columns = np.array([0, 1, 2])
    clusters = np.array([True, True, False])
    classes = np.array([True, True, False])
    assert ambiguous_rows(gain, columns).tolist() == []
    found = ambiguous_rows(gain, columns, rows_filled=clusters, columns_filled=classes)
    assert found.tolist() == [1, 2]
    both = np.array([True, True, True])
    assert ambiguous_rows(gain, columns, rows_filled=both, columns_filled=classes).tolist() == []


def test_memory_grows_with_ids_times_classes():
    rng = np.random.default_rng(0)
    gain = rng.integers(0, 1000, (5000, 27))
    tracemalloc.start()
    columns = assign(gain)
    ambiguous_rows(gain, columns)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6
