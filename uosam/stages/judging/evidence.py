"""What can be measured of a redraw, for a judge that was fitted on it.

All on the logit grid, so that a picture of many pixels costs no more than a small one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.labels import colour_gradient, to_grid
from uosam.stages.judging.candidates import KINDS, Candidate
from uosam.structures import IGNORE, LOGIT_SCALE, Embedding, Floats, Image, LabelMap, Masks

FEATURES = (
    "score",
    "stability",
    "sure",
    "agreement",
    "held",
    "pure",
    "growth",
    "size_old",
    "size_new",
    "contrast_old",
    "contrast_new",
    "contrast_gain",
    "on_others",
    "on_rest",
    "frame_old",
    "frame_new",
    "round_old",
    "round_new",
    "objects",
    "parts",
    "peers",
    "nearest",
    "expected_old",
    "expected_gain",
    "added_like",
    "removed_like",
    "apart_old",
    "apart_new",
    "detail_old",
    "detail_map",
    "edge_old",
    "edge_new",
    "edge_map",
    "no_background",
    *(f"is_{kind}" for kind in KINDS),
)
"""Names of the columns of ``evidence``, in order."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Ground:
    """What all objects of a picture are measured on.

    Attributes:
        labels: (R, C) coarse labels of the covered cells of the logit grid.
        gradient: (R, C) of the picture's colours there, mean 1.
        features: (D, r * c) of the covered cells of the feature grid, less their mean, unit length.
        cells: (r, c).
        objects: number of labels, without the background.
        detail: share of the map's outlines that a coarse grid could not have drawn.
        edge: how much better its outlines lie on the picture's edges than their surroundings do.
        background: id, or None.
    """

    labels: LabelMap
    gradient: Floats
    features: Floats
    cells: tuple[int, int]
    objects: int
    detail: float
    edge: float
    background: int | None


def lay_ground(
    coarse: LabelMap, image: Image, embedding: Embedding, background: int | None
) -> Ground:
    """Measure what all objects of a picture share."""
    rows, cols = (max(1, round(side * LOGIT_SCALE)) for side in embedding.extent)
    small = cv2.resize(image, (cols, rows), interpolation=cv2.INTER_AREA)
    gradient = colour_gradient(np.asarray(small, np.uint8))
    labels = cv2.resize(coarse, (cols, rows), interpolation=cv2.INTER_NEAREST)
    cells = max(1, round(embedding.extent[0])), max(1, round(embedding.extent[1]))
    features = embedding.features[:, : cells[0], : cells[1]].reshape(len(embedding.features), -1)
    features = features - features.mean(axis=1, keepdims=True)
    features = features / np.maximum(np.linalg.norm(features, axis=0), 1e-6)
    present = np.unique(coarse[coarse != IGNORE])
    gradient = gradient / max(1e-6, float(gradient.mean()))
    shapes = [labels == label for label in present.tolist() if (labels == label).any()]
    lengths = np.array([max(1, np.count_nonzero(_outline(shape))) for shape in shapes], float)
    shares = lengths / max(1.0, float(lengths.sum()))
    return Ground(
        labels=np.asarray(labels, np.int32),
        gradient=gradient,
        features=np.asarray(features, np.float32),
        cells=cells,
        objects=int((present != background).sum()) if background is not None else len(present),
        detail=float(np.dot([_detail(shape) for shape in shapes], shares)),
        edge=float(np.dot([_edge(shape, gradient) for shape in shapes], shares)),
        background=background,
    )


def evidence(
    label: int,
    coarse: NDArray[np.bool_],
    parts: int,
    found: Sequence[Candidate],
    embedding: Embedding,
    ground: Ground,
) -> Floats:
    """Measure the candidates of one object.

    Args:
        label: of the object.
        coarse: (H, W) its coarse shape.
        parts: rows of prompts it has.
        found: K candidates.
        embedding: of the picture.
        ground: of the picture.

    Returns:
        (K, F) in the order of ``FEATURES``.
    """
    hw = ground.labels.shape
    share = to_grid(coarse, embedding, scale=LOGIT_SCALE)[: hw[0], : hw[1]]
    old = share > 0.5 if (share > 0.5).any() else share >= share.max()
    logits = np.stack([c.logits[: hw[0], : hw[1]] for c in found])
    masks = logits > 0
    every = np.concatenate([old[None], masks])
    sizes = _count(every).astype(np.float64)
    sizes = np.maximum(sizes, 1)
    shared = (every.reshape(len(every), -1).astype(np.float32)) @ (
        every.reshape(len(every), -1).astype(np.float32).T
    )
    overlap = shared / np.maximum(sizes[:, None] + sizes[None] - shared, 1)
    probability = 1 / (1 + np.exp(-np.clip(logits, -12, 12)))
    mean = probability.mean(axis=0)
    inside = np.array([float(mean[mask].sum()) for mask in every])
    expected = inside / np.maximum(sizes + float(mean.sum()) - inside, 1e-6)
    outlines = np.stack([_outline(mask) for mask in every])
    lengths = np.maximum(_count(outlines), 1)
    contrast = np.array(
        [float(ground.gradient[line].mean()) if line.any() else 1.0 for line in outlines]
    )
    frame = np.array([_on_frame(mask) for mask in every]) / np.sqrt(sizes)
    others = (ground.labels != label) & (ground.labels != IGNORE)
    if ground.background is not None:
        others &= ground.labels != ground.background
    rest = (ground.labels != label) & ~others
    likeness = _likeness(every, ground)
    detail = _detail(old)
    edges = [_edge(mask, ground.gradient) for mask in every]
    area = old.size
    rows = []
    for index, candidate in enumerate(found):
        at = index + 1
        mask = masks[index]
        differ_new, differ_old = outlines[at] & ~outlines[0], outlines[0] & ~outlines[at]
        gain = 0.0
        if differ_new.any() and differ_old.any():
            gain = float(
                np.log(
                    (ground.gradient[differ_new].mean() + 0.05)
                    / (ground.gradient[differ_old].mean() + 0.05)
                )
            )
        peers = np.delete(overlap[at, 1:], index)
        rows.append(
            [
                candidate.score,
                candidate.stability,
                float(np.abs(probability[index][mask | old] - 0.5).mean()) * 2,
                overlap[at, 0],
                shared[at, 0] / sizes[0],
                shared[at, 0] / sizes[at],
                np.log2(sizes[at] / sizes[0]),
                np.log2(sizes[0] / area),
                np.log2(sizes[at] / area),
                np.log(contrast[0] + 0.05),
                np.log(contrast[at] + 0.05),
                gain,
                np.count_nonzero(mask & others) / sizes[at],
                np.count_nonzero(mask & rest) / sizes[at],
                frame[0],
                frame[at],
                lengths[0] / np.sqrt(sizes[0]),
                lengths[at] / np.sqrt(sizes[at]),
                min(ground.objects, 20),
                min(parts, 5),
                float(peers.mean()) if len(peers) else 1.0,
                float(peers.max()) if len(peers) else 1.0,
                expected[0],
                expected[at] - expected[0],
                *likeness[index],
                detail,
                ground.detail,
                edges[0],
                edges[at],
                ground.edge,
                float(ground.background is None),
                *(float(candidate.kind == kind) for kind in KINDS),
            ]
        )
    return np.asarray(rows, np.float32).reshape(-1, len(FEATURES))


def _count(masks: Masks) -> NDArray[np.int64]:
    return np.array([np.count_nonzero(mask) for mask in masks], np.int64)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells on both sides of a mask's edge."""
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, kernel)
    return np.asarray(edge > 0)


def _detail(mask: NDArray[np.bool_]) -> float:
    """Cells that smoothing with a disc of nine changes, for each cell of the outline.

    Masks enlarged from a coarse grid have no detail of that size.
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    shape = np.pad(mask.astype(np.uint8), 9, mode="edge")
    smooth = cv2.morphologyEx(cv2.morphologyEx(shape, cv2.MORPH_OPEN, disc), cv2.MORPH_CLOSE, disc)
    changed = int(np.count_nonzero(smooth != shape))
    return changed / max(1, int(np.count_nonzero(_outline(mask))))


def _edge(mask: NDArray[np.bool_], gradient: Floats) -> float:
    """Logarithm of the gradient on a mask's outline over that in a band around it."""
    shape = mask.astype(np.uint8)
    wide = np.ones((9, 9), np.uint8)
    line = _outline(mask)
    band = (cv2.dilate(shape, wide) > cv2.erode(shape, wide)) & ~line
    if not line.any() or not band.any():
        return 0.0
    return float(np.log((gradient[line].mean() + 0.05) / (gradient[band].mean() + 0.05)))


def _on_frame(mask: NDArray[np.bool_]) -> int:
    """Cells of a mask on the frame of the picture."""
    return int(mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum())


def _likeness(every: Masks, ground: Ground) -> list[list[float]]:
    """Compare features of what a redraw adds, removes and leaves out with those of the core.

    Args:
        every: (1 + K, R, C) coarse shape and candidates.
        ground: of the picture.

    Returns:
        K rows: whether what is added is more like the core than like the surroundings, the same of
        what is removed, how far the coarse shape is from its surroundings, and the candidate.
    """
    size = ground.cells[::-1]
    old = every[0]
    regions = []
    for mask in every:
        around = cv2.dilate(mask.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
        regions += [mask & old, mask & ~old, old & ~mask, ~mask & ~old, mask, around & ~mask]
    weights = np.stack(
        [
            cv2.resize(region.astype(np.float32), size, interpolation=cv2.INTER_AREA).ravel()
            for region in regions
        ]
    )
    means = weights @ ground.features.T
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    empty = weights.sum(axis=1) < 0.05
    units = (means / np.maximum(norms, 1e-6)).reshape(len(every), 6, -1)
    empty = empty.reshape(len(every), 6)
    rows = []
    for index in range(1, len(every)):
        core, added, removed, outside, whole, around = units[index]
        far = float(units[0][4] @ units[0][5]) if not empty[0, 4:].any() else 0.0
        rows.append(
            [
                0.0 if empty[index, 1] else float(added @ core - added @ outside),
                0.0 if empty[index, 2] else float(removed @ core - removed @ outside),
                far,
                0.0 if empty[index, 4:].any() else float(whole @ around),
            ]
        )
    return rows
