"""How much every superpixel looks like an object: the unary term of the graph cut.

One row of evidence per superpixel and object: where the prompt puts the object, how the colours
near by and in the whole picture are divided between object and rest, how far the superpixel is
from both along paths that avoid edges, and what its neighbours say. Two logistic models weigh
it, the second reading the answer of the first; their coefficients come from
``benchmarks/fit_graphcut.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from uosam.backends.graphcut.regions import Regions
from uosam.structures import Floats

COLOUR_SCALES = (3.5, 8.0)
"""Deviations of the colour kernels, in CIELAB units."""
REACHES: tuple[float | None, ...] = (35.0, 90.0, None)
"""Deviations of the spatial kernels, in pixels of the working copy; None is the whole picture."""
_FLOOR = 3e-3  # a colour nobody has is this likely under either side
_SUPPORT_SHARE = 0.15  # this share of the regions carries the colour statistics
_GOLDEN = 0.6180339887  # spreads them evenly whatever the width of the region grid


@dataclass(frozen=True, eq=False, kw_only=True)
class Kernels:
    """Similarity of every region to the M supporting regions, shared by all objects.

    Attributes:
        support: (M,) ids of the regions whose membership is counted.
        spatial: one (N, M) matrix per reach, None for the whole picture.
        joint: (reach, colour scale) in reach-major order, (N, M) each.
        geodesic: (N, N) sparse, cost of stepping between neighbours.
        smooth: (N, N) sparse, row-normalised affinity of neighbours.
    """

    support: NDArray[np.int64]
    spatial: tuple[Floats | None, ...]
    joint: tuple[Floats, ...]
    geodesic: csr_matrix
    smooth: csr_matrix


def affinity(regions: Regions) -> Floats:
    """Cost of cutting every pair of neighbours; (E,), large across weak edges."""
    weight = np.exp(-0.01 * regions.contrast**2 - 0.005 * regions.difference**2)
    return np.asarray(regions.shared * (weight + 0.02), np.float32)


def _symmetric(regions: Regions, values: Floats) -> csr_matrix:
    first, second = regions.pairs.T
    count = len(regions)
    return csr_matrix(
        (np.tile(values, 2), (np.r_[first, second], np.r_[second, first])), (count, count)
    )


def _squared_distances(points: Floats, others: Floats) -> Floats:
    cross = points @ others.T
    total = (points**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * cross
    return np.asarray(np.maximum(total, 0), np.float32)


def build_kernels(regions: Regions) -> Kernels:
    """Precompute what every object of a picture shares."""
    count = len(regions)
    support = np.arange(count)
    if count > 64:
        support = np.flatnonzero(support * _GOLDEN % 1 < _SUPPORT_SHARE)
    in_colour = _squared_distances(regions.colour, regions.colour[support])
    in_space = _squared_distances(regions.centre, regions.centre[support])
    colour = [np.exp(in_colour / np.float32(-2 * scale**2)) for scale in COLOUR_SCALES]
    # A region is no witness of its own membership.
    for kernel in colour:
        kernel[support, np.arange(len(support))] = 0
    spatial = tuple(
        None if reach is None else np.exp(in_space / np.float32(-2 * reach**2)) for reach in REACHES
    )
    joint = tuple(
        kernel if near is None else kernel * near for near in spatial for kernel in colour
    )
    cost = 0.3 + regions.difference + 2 * regions.contrast
    cut_cost = _symmetric(regions, affinity(regions))
    degree = np.asarray(cut_cost.sum(axis=1)).ravel() + 1e-6
    smooth = csr_matrix(cut_cost.multiply(1 / degree[:, None]))
    return Kernels(
        support=support,
        spatial=spatial,
        joint=joint,
        geodesic=_symmetric(regions, cost),
        smooth=smooth,
    )


def prior_evidence(prior: Floats, ids: NDArray[np.int32], count: int) -> Floats:
    """Describe where a prompt puts an object.

    Args:
        prior: (h', w') probability on the part of the logit grid that the picture covers, two
            working pixels to a cell.
        ids: (h', w') region of every cell.
        count: number of regions N.

    Returns:
        (N, 5): the probability, its blur over 8 and 20 pixels, the signed distance to the outline
        in units of 16 pixels, and that distance relative to the object's size.
    """
    cells = np.bincount(ids.ravel(), minlength=count).astype(np.float32)
    seen = np.maximum(cells, 1)
    inside = (prior > 0.5).astype(np.uint8)
    # OpenCV answers with the largest float where there is no other side to be far from.
    depth, gap = (
        np.minimum(cv2.distanceTransform(side, cv2.DIST_L2, 3), 40) for side in (inside, 1 - inside)
    )
    distance = 2 * (depth - gap)
    maps = (prior, cv2.GaussianBlur(prior, (0, 0), 4), cv2.GaussianBlur(prior, (0, 0), 10))
    columns = [np.bincount(ids.ravel(), m.ravel(), count) / seen for m in (*maps, distance)]
    size = 2 * np.sqrt(max(1, int(inside.sum())))
    evidence = np.stack(
        [*columns[:3], columns[3] / 16, np.clip(columns[3] / size * 5, -4, 4)], axis=1
    )
    return np.asarray(evidence, np.float32)


def _colour_evidence(kernels: Kernels, area: Floats, membership: Floats) -> Floats:
    """Compare every region's colour with both sides; (N, B, 3 per kernel)."""
    weight = area[kernels.support, None]
    # Regions in doubt are witnesses for neither side.
    lean = 2 * membership[kernels.support] - 1
    inside = np.maximum(lean, 0) * weight
    both = np.concatenate([inside, np.maximum(-lean, 0) * weight], axis=1)
    rows = inside.shape[1]
    unit = np.float32(weight.mean())
    columns = []
    scales = len(COLOUR_SCALES)
    for index, kernel in enumerate(kernels.joint):
        near = kernels.spatial[index // scales]
        available = both.sum(axis=0)[None] if near is None else near @ both
        found = kernel @ both
        likelihood = np.log((found + 0.01 * unit) / (available + unit) + _FLOOR)
        ratio = np.log((found[:, :rows] + unit / 64) / (found[:, rows:] + unit / 64))
        columns += [likelihood[:, :rows], likelihood[:, rows:], ratio]
    return np.stack(columns, axis=2)


def _path_evidence(kernels: Kernels, core: NDArray[np.bool_], rest: NDArray[np.bool_]) -> Floats:
    """Measure paths from every region to the object's core and to the sure rest; (N, 3)."""
    lengths = []
    for sources in (core, rest):
        start = np.flatnonzero(sources)
        if len(start):
            lengths.append(dijkstra(kernels.geodesic, indices=start, min_only=True, limit=300))
        else:
            lengths.append(np.full(len(sources), 200.0))
    to_core, to_rest = np.minimum(lengths, 300)
    relative = (to_core - to_rest) / (to_core + to_rest + 1)
    return np.stack([np.log1p(to_core), np.log1p(to_rest), relative], axis=1)


def gather(
    regions: Regions, kernels: Kernels, priors: Floats, logits: Floats | None = None
) -> Floats:
    """Collect the evidence on every region and object.

    Args:
        regions: of the picture.
        kernels: of the same picture.
        priors: (N, B, 5) from ``prior_evidence``.
        logits: (N, B) answer of the first model, for the second; None for the first.

    Returns:
        (N, B, F).
    """
    membership = priors[:, :, 1] if logits is None else 1 / (1 + np.exp(-logits))
    depth = priors[:, :, 3]
    core = (depth > 0.5) & (priors[:, :, 0] > 0.5)
    rest = depth < -1.2
    if logits is not None:
        core, rest = core & (logits > 0), rest & (logits < 0)
    # An object too thin for a core is where its membership is highest.
    thin = ~core.any(axis=0)
    core[:, thin] = membership[:, thin] >= membership[:, thin].max(axis=0)
    paths = [_path_evidence(kernels, core[:, row], rest[:, row]) for row in range(core.shape[1])]
    once = kernels.smooth @ membership
    parts = [
        priors,
        _colour_evidence(kernels, regions.area, membership.astype(np.float32)),
        np.stack(paths, axis=1),
        np.stack([once, kernels.smooth @ once], axis=2),
    ]
    if logits is not None:
        parts.append(logits[:, :, None])
    return np.concatenate(parts, axis=2).astype(np.float32)
