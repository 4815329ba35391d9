"""The graph cut over superpixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from uosam.backends.graphcut.regions import Regions
from uosam.structures import Floats

_CAPACITY = 100  # scipy's maximum flow wants integers


def cut_regions(
    unary: Floats, regions: Regions, weights: Floats, smoothness: float
) -> NDArray[np.bool_]:
    """Label regions inside or outside at least cost, by maximum flow.

    Source: Boykov and Jolly, "Interactive graph cuts", ICCV 2001, equation 1.

    Args:
        unary: (N,) log odds of "inside" times the pixels of the region.
        regions: of the picture.
        weights: (E,) cost of parting neighbours, from ``affinity``.
        smoothness: weight of those costs against the unary term.

    Returns:
        (N,) inside. A region for which both sides cost the same is outside.
    """
    count = len(regions)
    source, sink = count, count + 1
    first, second = regions.pairs.T
    links = np.rint(smoothness * weights * _CAPACITY).astype(np.int32)
    terminals = np.rint(np.abs(unary) * _CAPACITY).astype(np.int32)
    inside, outside = np.flatnonzero(unary > 0), np.flatnonzero(unary < 0)
    rows = np.concatenate([first, second, np.full(len(inside), source), outside])
    cols = np.concatenate([second, first, inside, np.full(len(outside), sink)])
    data = np.concatenate([links, links, terminals[inside], terminals[outside]])
    graph = csr_matrix((data, (rows, cols)), shape=(count + 2, count + 2))
    residual = graph - maximum_flow(graph, source, sink).flow
    residual.data = (residual.data > 0).astype(np.int32)
    residual.eliminate_zeros()
    reached = np.zeros(count + 2, bool)
    reached[breadth_first_order(residual, source, return_predecessors=False)] = True
    return reached[:count]
