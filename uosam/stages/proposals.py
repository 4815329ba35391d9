"""Proposals for a whole picture: where to ask, and which answers are worth keeping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.demand import HeldMask, MaskStack
from uosam.stages.levels import ask_levels
from uosam.structures import (
    IGNORE,
    LOGIT_SCALE,
    Backend,
    Embedding,
    Floats,
    LabelMap,
    Mask,
    Masks,
    Prompts,
    Proposals,
)

_BATCH = 64  # points asked at a time
SAFETY = 8
"""Points along each side of the sparse grid that is asked wherever the boundaries lie."""
SURE = 8.5
"""Logit beyond which a place is explained by a proposal, as in TinySAM (arXiv 2312.13789)."""

SAM_LIMITS = (0.86, 0.92)
"""Least score and stability of a proposal in SSA and UO-SAM; they were chosen for SAM's weights."""


def limits_of(backend: Backend) -> tuple[float, float]:
    """Return least score and stability of a segmenter's answers to lone points, to be proposals.

    They are those of its attribute ``point_limits``, calibrated by ``benchmarks/proposals.py``, and
    ``SAM_LIMITS`` without one.
    """
    limits: tuple[float, float] | None = getattr(backend, "point_limits", None)
    return SAM_LIMITS if limits is None else limits


def grid_points(image_hw: tuple[int, int], side: int) -> Floats:
    """Spread points evenly over a picture.

    Returns:
        (side * side, 2) x, y in raster order.

    >>> grid_points((4, 8), 2).tolist()
    [[1.5, 0.5], [5.5, 0.5], [1.5, 2.5], [5.5, 2.5]]
    """
    height, width = image_hw
    steps = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(steps * width - 0.5, steps * height - 0.5)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def point_prompts(points: Floats, levels: tuple[int, ...] = ()) -> Iterator[Prompts]:
    """Make single-point prompts in batches, label -1 as they stand for none."""
    for start in range(0, len(points), _BATCH):
        batch = points[start : start + _BATCH, None]
        prompts = Prompts(
            points=batch,
            point_labels=np.ones(batch.shape[:2], np.int8),
            labels=np.full(len(batch), IGNORE, np.int32),
        )
        yield ask_levels(prompts, levels)


def suppress(masks: Masks, scores: Floats, max_overlap: float) -> NDArray[np.int64]:
    """Drop masks that nearly repeat a better scored one (greedy non-maximum suppression).

    Args:
        masks: (M, h, w) at any one resolution.
        scores: (M,) higher is better; ties keep the earlier mask.
        max_overlap: IoU above which the worse mask goes.

    Returns:
        Indices of the kept masks, best first.
    """
    flat = masks.reshape(len(masks), math.prod(masks.shape[1:]))
    return suppress_bits(np.packbits(flat, axis=1), scores, max_overlap)


def suppress_bits(bits: NDArray[np.uint8], scores: Floats, max_overlap: float) -> NDArray[np.int64]:
    """Drop masks as ``suppress`` does, (M, n) packed eight cells to a byte."""
    kept = np.zeros(0, np.int64)
    if not len(bits):
        return kept
    sizes = _differing(np.zeros_like(bits[:1]), bits)
    for index in np.argsort(-scores, kind="stable"):
        # Masks whose areas differ more than this cannot overlap as much.
        smaller = np.minimum(sizes[kept], sizes[index])
        like = kept[smaller > max_overlap * np.maximum(sizes[kept], sizes[index])]
        both = sizes[like] + sizes[index]
        shared = (both - _differing(bits[index : index + 1], bits[like])) // 2
        if (shared <= max_overlap * (both - shared)).all():
            kept = np.append(kept, index)
    return kept


def _differing(one: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the bits in which (1, n) differs from each of (M, n)."""
    return np.array([cv2.norm(one[0], other, cv2.NORM_HAMMING) for other in others], np.int64)


def near_boundaries(labels: LabelMap, side: int) -> NDArray[np.bool_]:
    """Mark the points of a grid that lie within one cell of where two labels meet.

    Args:
        labels: (H, W); the edge of an IGNORE area counts as one.
        side: points along each side of the picture.

    Returns:
        (side * side,) in the order of ``grid_points``.
    """
    height, width = labels.shape
    edges = np.zeros(labels.shape, bool)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    rows, cols = np.nonzero(edges)
    cells = np.zeros((side, side), np.uint8)
    cells[rows * side // height, cols * side // width] = 1
    return np.asarray(cv2.dilate(cells, np.ones((3, 3), np.uint8)).ravel() > 0)


def inside(points: Floats, mask: Mask) -> NDArray[np.bool_]:
    """Tell which points lie in a mask; (P,)."""
    x, y = np.rint(points).astype(int).T
    return np.asarray(mask[y.clip(0, mask.shape[0] - 1), x.clip(0, mask.shape[1] - 1)])


@dataclass(kw_only=True)
class Search:
    """What asking for points has brought so far; an exact repeat of a mask is kept once.

    Attributes:
        embedding: of the picture.
        backend: that made it.
        min_score: least estimate of a proposal's IoU.
        min_stability: least stability of a proposal.
        min_area: smallest proposal, as a share of the picture.
        levels: levels of granularity asked for; () lets the backend choose.
        accept: tells whether a mask may vote; of the levels of one click only the first that may
            is kept. None keeps all.
        holes: (H, W) where a proposal must not lie by more than half, or None.
        asked: number of points asked.
    """

    embedding: Embedding
    backend: Backend
    min_score: float
    min_stability: float
    min_area: float
    levels: tuple[int, ...] = ()
    accept: Callable[[Mask], bool] | None = None
    holes: Mask | None = None
    asked: int = 0
    _sure: NDArray[np.uint8] = field(init=False)
    _found: dict[bytes, tuple[float, HeldMask]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with nothing explained."""
        self._sure = np.packbits(np.zeros(self.embedding.logits_hw, bool))

    @property
    def sure(self) -> NDArray[np.bool_]:
        """(4h, 4w) where a proposal that was kept has a logit above ``SURE``."""
        hw = self.embedding.logits_hw
        return np.unpackbits(self._sure, count=math.prod(hw)).reshape(hw).astype(bool)

    def ask(self, points: Floats, *, skip_explained: bool = False) -> None:
        """Decode what lies under points and remember what passes the thresholds.

        Args:
            points: (P, 2) x, y in pixels.
            skip_explained: whether to leave out points where ``sure`` holds when their turn comes.
        """
        for start in range(0, len(points), _BATCH):
            batch = points[start : start + _BATCH]
            if skip_explained:
                batch = batch[~self._explained(batch)]
            self.asked += len(batch)
            for prompts in point_prompts(batch, self.levels):
                self._keep(
                    self.backend.decode(
                        self.embedding,
                        prompts,
                        min_score=self.min_score,
                        min_stability=self.min_stability,
                    )
                )

    def _explained(self, points: Floats) -> NDArray[np.bool_]:
        """Look (P, 2) points up in ``sure``; (P,)."""
        size = np.array(self.embedding.image_hw[::-1])
        cells = np.array(self.embedding.extent[::-1]) * LOGIT_SCALE
        return inside((points + 0.5) / size * cells - 0.5, self.sure)

    def _keep(self, answers: Proposals) -> None:
        """Compare masks by the bits of their logit grids; few are made at the picture's size."""
        settled: set[int] = set()
        shapes, sure = answers.cut(), answers.cut(SURE)
        large = answers.have(math.ceil(self.min_area * math.prod(self.embedding.image_hw)))
        for index, (score, row) in enumerate(
            zip(answers.scores.tolist(), answers.row.tolist(), strict=True)
        ):
            if self.accept is not None:
                if row in settled or not self.accept(answers.mask(index)):
                    continue
                settled.add(row)
            key = shapes[index].tobytes()
            again = key in self._found and self._found[key][0] >= score
            if again or not large[index] or self._is_hole(answers, index):
                continue
            self._found[key] = score, answers.hold(index)
            self._sure |= sure[index]

    def _is_hole(self, answers: Proposals, index: int) -> bool:
        if self.holes is None:
            return False
        mask = answers.mask(index)
        return bool(2 * np.count_nonzero(mask & self.holes) > np.count_nonzero(mask))

    def best(self, max_overlap: float) -> tuple[Masks | MaskStack, Floats]:
        """Return (M, H, W) proposals and (M,) scores after suppression, best first."""
        return best_of([self], max_overlap)


def best_of(searches: Sequence[Search], max_overlap: float) -> tuple[Masks | MaskStack, Floats]:
    """Return the proposals of searches in views of one picture, duplicates suppressed as one list.

    Args:
        searches: at least one; with embeddings of one backend and pictures of one size.
        max_overlap: IoU above which the worse mask goes.

    Returns:
        (M, H, W) proposals, where the segmenter has computed them, and (M,) scores, best first; of
        equals the earlier search's.
    """
    found = [(key, *item) for search in searches for key, item in search._found.items()]
    if not found:
        return np.zeros((0, *searches[0].embedding.image_hw), bool), np.zeros(0, np.float32)
    scores = np.array([score for _, score, _ in found], np.float32)
    bits = np.stack([np.frombuffer(key, np.uint8) for key, _, _ in found])
    kept = suppress_bits(bits, scores, max_overlap)
    held = [found[index][2] for index in kept]
    return held[0].together(held), scores[kept]
