"""A hierarchy of a picture's regions: what a lone point can mean, at several granularities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from uosam.backends.graphcut.regions import Regions
from uosam.structures import Floats

THRESHOLDS = (4.0, 6.0, 9.0, 13.0, 18.0, 25.0)
"""Dissimilarity, in CIELAB units, up to which a segment joins its nearest neighbour."""
_ROUNDS = 4  # merging rounds a level; each at least halves a chain of similar neighbours


def _merge_once(
    segment: NDArray[np.int64], regions: Regions, threshold: float
) -> NDArray[np.int64]:
    """Join every segment to its most similar neighbour if that is similar enough; (N,) ids."""
    count = int(segment.max()) + 1
    area = np.bincount(segment, regions.area, count)
    colour = np.stack(
        [np.bincount(segment, regions.area * c, count) / area for c in regions.colour.T], axis=1
    )
    ends = segment[regions.pairs]
    outer = ends[:, 0] != ends[:, 1]
    ends, shared = np.sort(ends[outer], axis=1), regions.shared[outer]
    keys, inverse = np.unique(ends[:, 0] * count + ends[:, 1], return_inverse=True)
    border = np.bincount(inverse, shared, len(keys))
    contrast = np.bincount(inverse, shared * regions.contrast[outer], len(keys)) / border
    first, second = keys // count, keys % count
    difference = np.linalg.norm(colour[first] - colour[second], axis=1)
    # Small segments join first, so that specks do not survive as objects of their own.
    smaller = np.minimum(area[first], area[second])
    cost = (difference + contrast) / 2 * np.minimum(1, (smaller / 400) ** 0.25)
    both = np.concatenate([first, second])
    other = np.concatenate([second, first])
    costs = np.tile(cost, 2)
    order = np.lexsort((other, costs, both))
    owners, at = np.unique(both[order], return_index=True)
    nearest, price = other[order][at], costs[order][at]
    close = price <= threshold
    links = csr_matrix(
        (np.ones(int(close.sum())), (owners[close], nearest[close])), shape=(count, count)
    )
    return np.asarray(connected_components(links, directed=False)[1][segment], np.int64)


def build_hierarchy(regions: Regions) -> NDArray[np.int64]:
    """Merge similar neighbours at rising thresholds.

    Returns:
        (levels, N) segment of every region, finest level first; segments of a level are unions of
        segments of the level before.
    """
    segment = np.arange(len(regions))
    levels = []
    for threshold in THRESHOLDS:
        for _ in range(_ROUNDS):
            if segment.max() == 0:
                break
            segment = _merge_once(segment, regions, threshold)
        levels.append(segment)
    return np.stack(levels)


def segments_of_levels(
    hierarchy: NDArray[np.int64], regions: Regions, region: int, levels: NDArray[np.int8]
) -> tuple[NDArray[np.bool_], Floats]:
    """Pick the segments around one region at given levels of granularity.

    Args:
        hierarchy: from ``build_hierarchy``.
        regions: of the same picture.
        region: the region under the point.
        levels: (A,) 1 for the coarsest level of the hierarchy, ``len(THRESHOLDS)`` for the finest.

    Returns:
        (A, N) members and (A,) scores in [0, 1], as ``segments_at``. A segment holds those of every
        higher level.
    """
    chosen = hierarchy[len(hierarchy) - levels]
    members = chosen == chosen[:, region][:, None]
    return members, _contrasts(members, regions)


def segments_at(
    hierarchy: NDArray[np.int64], regions: Regions, region: int, amount: int
) -> tuple[NDArray[np.bool_], Floats]:
    """Pick the segments around one region that differ most from the next level's.

    Args:
        hierarchy: from ``build_hierarchy``.
        regions: of the same picture.
        region: the region under the point.
        amount: how many segments are wanted.

    Returns:
        (A, N) members, smallest segment first, A at most ``amount``; and (A,) scores in [0, 1]:
        contrast of the segment's outline against the contrast inside it.
    """
    members = hierarchy == hierarchy[:, region][:, None]
    sizes = (members * regions.area).sum(axis=1)
    keep = np.concatenate([sizes[:-1] != sizes[1:], [True]])  # the last level of equal segments
    members, sizes = members[keep], sizes[keep]
    growth = np.concatenate([np.log(sizes[1:] / sizes[:-1]), [1.0]])
    chosen = np.sort(np.argsort(-growth, kind="stable")[:amount])
    return members[chosen], _contrasts(members[chosen], regions)


def _contrasts(members: NDArray[np.bool_], regions: Regions) -> Floats:
    """Hold the contrast of each segment's outline against that inside it; (A,) in [0, 1]."""
    first, second = regions.pairs.T
    scores = []
    for member in members:
        inside = member[first] & member[second]
        outline = member[first] != member[second]
        edge = (regions.shared * regions.contrast)[outline].sum() + 1e-3
        edge /= regions.shared[outline].sum() + 1e-3
        flat = (regions.shared * regions.contrast)[inside].sum() + 1e-3
        flat /= regions.shared[inside].sum() + 1e-3
        scores.append(edge / (edge + flat))
    return np.asarray(scores, np.float32)
