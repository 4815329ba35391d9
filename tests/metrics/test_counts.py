from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests import metric_oracles as oracle
from uosam.metrics import counts as c
from uosam.metrics.counts import Widths, collect, count_pairs, prepare_target, scored_rows


@pytest.mark.parametrize("ignore", [0.0, 0.3])
def test_counts_equal_counting_pixels(ignore):
    rng = np.random.default_rng(3)
    for _ in range(20):
        pred = oracle.random_map(rng, labels=(-1, 0, 1, 700))
        target = oracle.random_map(rng, labels=(0, 1, 2, 919), ignore=ignore)
        pairs = count_pairs(pred, prepare_target(target, Widths(2, (1, 3))))
        cut = np.where(target < 0, -1, pred)
        flags = [np.ones(target.shape, bool)]
        edges = [oracle.boundary_map(x, 2) > 0 for x in (pred, target, cut)]
        flags += [edges[0], edges[1], edges[0] & edges[1], edges[2], edges[2] & edges[1]]
        contours = contour_distance(target)
        flags += [contours <= 1, contours <= 3]
        rows = {}
        for p in np.unique(pred):
            for t in np.unique(target[target >= 0]):
                here = (pred == p) & (target == t)
                if here.any():
                    rows[int(p), int(t)] = [int((here & flag).sum()) for flag in flags]
        assert set(pairs.pred.tolist()) == set(np.unique(pred).tolist())
        table = scored_rows(collect([("", pairs)]))
        found = list(zip(table.pred.tolist(), table.target.tolist(), strict=True))
        assert sorted(found) == sorted(rows)
        for key, row in zip(found, table.counts.tolist(), strict=True):
            # Boundaries of "no class" enter no score; at ignored pixels they are not defined.
            used = range(len(row)) if key[0] >= 0 else (c.PIXELS, c.TARGET_EDGE, 6, 7)
            assert [row[k] for k in used] == [rows[key][k] for k in used]


def contour_distance(target):
    """Chessboard distance to a pixel that touches another label, void apart; 1 at the contour."""
    h, w = target.shape
    at = [
        (y, x)
        for y in range(h)
        for x in range(w)
        if target[y, x] >= 0
        and any(
            target[v, u] >= 0 and target[v, u] != target[y, x]
            for v in range(max(0, y - 1), min(h, y + 2))
            for u in range(max(0, x - 1), min(w, x + 2))
        )
    ]
    out = np.full((h, w), np.inf)
    ys, xs = np.mgrid[:h, :w]
    for y, x in at:
        out = np.minimum(out, 1 + np.maximum(abs(ys - y), abs(xs - x)))
    return out


def test_an_image_without_a_scored_pixel_has_no_rows_but_a_name():
    nothing = np.full((4, 5), -1, np.int32)
    pairs = count_pairs(np.zeros((4, 5), np.int32), prepare_target(nothing, Widths(1)))
    table = collect([("b", pairs), ("a", pairs)])
    assert table.names == ("a", "b")
    assert len(scored_rows(table).pred) == 0
    assert not table.counts.any()
    assert collect([]).counts.shape == (0, c.TRIMAP)


def test_order_of_arrival_does_not_matter():
    rng = np.random.default_rng(0)
    images = [
        (
            name,
            count_pairs(oracle.random_map(rng), prepare_target(oracle.random_map(rng), Widths(1))),
        )
        for name in "abcdef"
    ]
    one, other = collect(images), collect(images[::-1])
    for key in ("image", "pred", "target", "counts"):
        assert np.array_equal(getattr(one, key), getattr(other, key))


def test_memory_grows_by_label_pairs_not_by_pixels():
    rng = np.random.default_rng(0)
    maps = [(oracle.random_map(rng, (120, 160), cell=40)) for _ in range(4)]
    kept = [("0", count_pairs(maps[0], prepare_target(maps[1], Widths(2))))]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for index in range(200):
        kept.append((str(index), count_pairs(maps[index % 4], prepare_target(maps[-1], Widths(2)))))
    grown = (tracemalloc.get_traced_memory()[0] - before) / 200
    tracemalloc.stop()
    assert grown < 3000, grown  # bytes an image; its pixels alone are 76,800
