"""Which cluster is which class: assignments that maximise an overlap, and how unique they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError

Counts = NDArray[np.int64]
Solver = Literal["munkres-3", "munkres-1", "scipy"]
"""Who breaks ties: the Munkres package from 3.0.0 on, up to 1.1.4, or SciPy (any optimum)."""


def assign(gain: NDArray[np.generic], solver: Solver = "scipy") -> NDArray[np.int64]:
    """Pair every row with a column of its own so that the summed gain is largest.

    Args:
        gain: (n, k) gain of each pair; square and of integers unless the solver is "scipy".
        solver: decides between optima. The public LUSS evaluators call the Munkres package, which
            changed its choice between 1.1.4 (current when the papers were written) and 3.0.0.

    Returns:
        (n,) the column of each row, -1 for rows beyond k.

    Raises:
        InputError: the matrix is not square.

    >>> assign(np.array([[1, 5], [1, 4]])).tolist()
    [1, 0]
    """
    if gain.ndim != 2 or (gain.shape[0] != gain.shape[1] and solver != "scipy"):
        raise InputError(f"an assignment needs a square matrix, got shape {gain.shape}")
    if solver == "munkres-1":
        return star_and_prime(-np.asarray(gain, np.int64))
    if solver == "munkres-3":
        return shortest_paths(-np.asarray(gain, np.int64))
    from scipy.optimize import linear_sum_assignment  # here: half a second

    columns = np.full(len(gain), -1, np.int64)
    rows, found = linear_sum_assignment(gain, maximize=True)
    columns[rows] = found
    return columns


def star_and_prime(cost: NDArray[np.generic]) -> NDArray[np.int64]:
    """Solve an assignment with the Munkres (1957) procedure, choosing zeros in a fixed order.

    Where several assignments are cheapest, the order of the search decides. It is that of the
    Munkres package 1.1.4: rows are reduced, columns are not; initial stars go row by row to the
    first free zero; the search for an open zero starts at the last visited cell, goes down the rows
    cyclically and takes the cyclically last open zero of the first row that has one.

    Args:
        cost: (n, n) integers, so that zeros are exact.

    Returns:
        (n,) the column of each row.

    >>> star_and_prime(np.array([[0, 0], [0, 0]])).tolist()
    [0, 1]
    """
    reduced = np.asarray(cost, np.int64)
    size = len(reduced)
    if not size:
        return np.empty(0, np.int64)
    reduced = reduced - reduced.min(axis=1, keepdims=True)
    star_of_row, star_of_col = _first_stars(reduced)
    while (star_of_row < 0).any():
        row, col, prime_of_row = _find_free_zero(reduced, star_of_row, star_of_col)
        while True:  # swap primes and stars along the alternating path that ends in (row, col)
            displaced = star_of_col[col]
            star_of_row[row], star_of_col[col] = col, row
            if displaced < 0:
                break
            row, col = displaced, prime_of_row[displaced]
    return star_of_row


def _first_stars(reduced: Counts) -> tuple[Counts, Counts]:
    """Star, row by row, the first zero whose column has no star yet."""
    size = len(reduced)
    star_of_row, star_of_col = np.full(size, -1, np.int64), np.full(size, -1, np.int64)
    for row in range(size):
        free = np.flatnonzero((reduced[row] == 0) & (star_of_col < 0))
        if len(free):
            star_of_row[row], star_of_col[free[0]] = free[0], row
    return star_of_row, star_of_col


def shortest_paths(cost: NDArray[np.generic]) -> NDArray[np.int64]:
    """Solve an assignment by shortest augmenting paths (Crouse 2016), in a fixed scan order.

    Rows are reduced and, in order, matched to the first free zero; each row left over, in order,
    extends the matching along a shortest path with dual potentials. The order is that of the
    Munkres package 3.0.0 with its compiled kernel (its pure Python fallback takes other optima):
    columns are scanned from the last to the first, a finished column's place is taken by the end
    of the queue, and of equally near columns the free one scanned last wins, else the first one.

    Args:
        cost: (n, n) integers, so that ties are exact.

    Returns:
        (n,) the column of each row.

    >>> shortest_paths(np.array([[0, 0], [0, 0]])).tolist()
    [0, 1]
    """
    costs = np.asarray(cost, np.int64)
    if not len(costs):
        return np.empty(0, np.int64)
    row_potential = costs.min(axis=1)
    col_potential = np.zeros(len(costs), np.int64)
    col_of_row, row_of_col = _first_stars(costs - row_potential[:, None])
    for start in np.flatnonzero(col_of_row < 0).tolist():
        length = np.full(len(costs), np.iinfo(np.int64).max)
        came_from = np.full(len(costs), start)
        queue = np.arange(len(costs))[::-1].copy()
        done: list[int] = []
        row, nearest = start, 0
        while True:
            reach = nearest + costs[row, queue] - row_potential[row] - col_potential[queue]
            closer = reach < length[queue]
            length[queue[closer]], came_from[queue[closer]] = reach[closer], row
            nearest = length[queue].min()
            ties = np.flatnonzero(length[queue] == nearest)
            free = ties[row_of_col[queue[ties]] < 0]
            place = free[-1] if len(free) else ties[0]
            col = int(queue[place])
            if len(free):
                break
            done.append(col)
            row = int(row_of_col[col])
            queue[place] = queue[-1]
            queue = queue[:-1]
        row_potential[start] += nearest
        row_potential[row_of_col[done]] += nearest - length[done]
        col_potential[done] -= nearest - length[done]
        while col >= 0:  # flip the path from its free end back to the row it started from
            row = int(came_from[col])
            row_of_col[col] = row
            col_of_row[row], col = col, int(col_of_row[row])
    return col_of_row


def _find_free_zero(
    reduced: Counts, star_of_row: Counts, star_of_col: Counts
) -> tuple[int, int, Counts]:
    """Prime open zeros until one lies in a row without a star; changes ``reduced`` in place.

    Returns:
        Row and column of that zero, and the primed column of each row (-1: none).
    """
    size = len(reduced)
    row_open = np.ones(size, bool)
    col_open = star_of_col < 0
    prime_of_row = np.full(size, -1, np.int64)
    zeros = reduced == 0
    open_zeros = zeros[:, col_open].sum(axis=1)
    row = col = 0
    while True:
        rows = np.flatnonzero(row_open & (open_zeros > 0))
        if not len(rows):
            smallest = reduced[np.ix_(row_open, col_open)].min()
            reduced[~row_open] += smallest
            reduced[:, col_open] -= smallest
            zeros = reduced == 0
            open_zeros = zeros[:, col_open].sum(axis=1)
            row = col = 0
            continue
        row = int(rows[np.searchsorted(rows, row) % len(rows)])
        cols = np.flatnonzero(zeros[row] & col_open)
        # Cyclically last when the scan starts at `col`: the largest below it, else the largest.
        col = int(cols[np.searchsorted(cols, col) - 1])
        prime_of_row[row] = col
        star = int(star_of_row[row])
        if star < 0:
            return row, col, prime_of_row
        row_open[row] = False
        col_open[star] = True
        open_zeros += zeros[:, star]
        col = star


def ambiguous_rows(
    gain: NDArray[np.generic],
    columns: NDArray[np.int64],
    *,
    rows_filled: NDArray[np.bool_] | None = None,
    columns_filled: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Find the rows of an optimal assignment that another optimum pairs otherwise, with effect.

    Rows whose alternatives are all pairs without gain are left out: a cluster and a class that
    never meet score 0 whoever is paired with whom. That does not hold where scores leave out
    classes without pixels: then ``rows_filled`` and ``columns_filled`` tell which exchanges without
    gain give pixels to a class that has none, or take them away.

    Args:
        gain: (n, k) gain of each pair, 0 or more.
        columns: (n,) an assignment of largest summed gain, -1 for a row without a column.
        rows_filled: (n,) which clusters have pixels.
        columns_filled: (k,) which classes have pixels.

    Returns:
        Rows in increasing order; empty if every optimum gives the same score.

    >>> ambiguous_rows(np.array([[2, 2, 0], [2, 2, 0], [0, 0, 1]]), np.array([0, 1, 2])).tolist()
    [0, 1]
    >>> ambiguous_rows(np.array([[2], [2], [1]]), np.array([0, -1, -1])).tolist()
    [0, 1]
    """
    gain = np.asarray(gain, np.float64)
    paired = np.flatnonzero(columns >= 0)
    taken = columns[paired]
    spare_rows = np.flatnonzero(columns < 0)
    spare_columns = np.setdiff1d(np.arange(gain.shape[1]), taken)
    # Node i is the i-th paired row with its column; the last node stands for all rows without a
    # column and all columns without a row, so that the graph has no more nodes than the shorter
    # side. Going from i to j gives row i the column of j.
    offered = np.zeros((len(paired) + 1, len(paired) + 1))
    offered[:-1, :-1] = gain[np.ix_(paired, taken)]
    offered[:-1, -1] = gain[np.ix_(paired, spare_columns)].max(axis=1, initial=0)
    offered[-1, :-1] = gain[np.ix_(spare_rows, taken)].max(axis=0, initial=0)
    held = np.diag(offered)
    # loss[i, j]: what the step costs; an optimum has no negative cycle, and a cycle of zero loss is
    # another optimum. Potentials make every loss non-negative first.
    loss = held[:, None] - offered
    if not len(spare_rows) and not len(spare_columns):  # no row can be left without a column
        loss[-1], loss[:, -1] = np.inf, np.inf
        loss[-1, -1] = 0
    potential = np.zeros(len(loss))
    for _ in range(len(loss)):
        shorter = np.minimum(potential, (potential[:, None] + loss).min(axis=0, initial=np.inf))
        if np.allclose(shorter, potential, rtol=0, atol=1e-12):
            break
        potential = shorter
    free = np.abs(potential[:, None] + loss - potential[None]) < 1e-9
    np.fill_diagonal(free, False)
    from scipy.sparse import csr_array  # here: a fifth of a second
    from scipy.sparse.csgraph import connected_components

    _, group = connected_components(csr_array(free), directed=True, connection="strong")
    same_group = group[:, None] == group[None]
    moved = (offered > 0) | (held > 0)[:, None]
    if rows_filled is not None and columns_filled is not None:
        has_row = np.append(rows_filled[paired], rows_filled[spare_rows].any())
        has_column = np.append(columns_filled[taken], columns_filled[spare_columns].any())
        moved |= (has_row[:, None] != has_row) & (has_column[:, None] != has_column)
    matters = free & same_group & moved
    groups = np.unique(group[matters.any(axis=1)])
    found = [paired[np.isin(group[:-1], groups)]]
    if group[-1] in groups:
        into = free[-1, :-1] & (group[:-1] == group[-1])
        rivals = gain[np.ix_(spare_rows, taken[into])]
        best = offered[-1, :-1][into]
        found.append(spare_rows[((rivals == best) & (rivals > 0)).any(axis=1)])
    return np.sort(np.concatenate(found))


def check_match(match: Mapping[int, int], classes: int, *, background: int | None) -> None:
    """Refuse a matching that is not one-to-one, or that names ids out of range.

    Args:
        match: predicted id to ground-truth id.
        classes: number of ids; both sides must lie in 0 to ``classes`` - 1.
        background: id that must stand for itself if it is named, or None.

    Raises:
        InputError: naming every fault.

    >>> check_match({0: 0, 1: 2, 2: 1}, 3, background=0)
    """
    faults = []
    sources: dict[int, list[int]] = {}
    for pred, target in sorted(match.items()):
        sources.setdefault(target, []).append(pred)
        if not (0 <= pred < classes and 0 <= target < classes):
            faults.append(f"{pred} -> {target} is outside 0 to {classes - 1}")
    faults += [
        f"{preds} all become {target}" for target, preds in sorted(sources.items()) if preds[1:]
    ]
    if background is not None and match.get(background, background) != background:
        faults.append(f"background {background} becomes {match[background]}")
    if faults:
        raise InputError(
            f"a matching must be one-to-one: {'; '.join(faults)}; find one on validation images "
            "with uosam eval --json"
        )
