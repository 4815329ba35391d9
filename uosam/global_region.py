"""Stage 3, the global region optimizer: proposals for the whole picture vote over the labels.

Semantic voting as in UO-SAM (arXiv 2405.11742, "IWS" and "CVM") and SSA: each proposal takes the
label most frequent inside it, large proposals first, always counted on the map as it came in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError
from uosam.labels import check_label_map
from uosam.structures import IGNORE, Backend, Embedding, Floats, LabelMap, Masks, Prompts

_BATCH = 64  # points asked at a time


@dataclass(frozen=True, kw_only=True)
class GlobalRegionOptions:
    """How the picture is searched for proposals, and when a vote counts.

    Attributes:
        grid: points along each side of the picture; 0 leaves the stage out.
        min_score: least estimate of a proposal's IoU, in [0, 1].
        min_stability: least stability of a proposal, in [0, 1].
        max_overlap: of two proposals whose IoU is above this, only the better scored votes.
        min_area: smallest proposal, as a share of the picture.
        min_purity: least share of the winning label inside a proposal, in [0, 1]; 0.5 leaves
            proposals across several objects out.
        background_votes: whether the background can win (the paper) or is not counted.
        protect: whether a label that would lose more than half its pixels keeps them.
    """

    grid: int = 0
    min_score: float = 0.86
    min_stability: float = 0.92
    max_overlap: float = 0.7
    min_area: float = 0.0005
    min_purity: float = 0.75
    background_votes: bool = True
    protect: bool = True

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share lies outside [0, 1] or ``grid`` is negative.
        """
        if self.grid < 0:
            raise ConfigError(f"global_region.grid must be at least 0, got {self.grid}")
        for name in ("min_score", "min_stability", "max_overlap", "min_area", "min_purity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"global_region.{name} must be in [0, 1], got {getattr(self, name)}"
                )


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


def point_prompts(points: Floats) -> Iterator[Prompts]:
    """Make single-point prompts in batches, label -1 as they stand for none."""
    for start in range(0, len(points), _BATCH):
        batch = points[start : start + _BATCH, None]
        yield Prompts(
            points=batch,
            point_labels=np.ones(batch.shape[:2], np.int8),
            labels=np.full(len(batch), IGNORE, np.int32),
        )


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
    sizes = np.count_nonzero(flat, axis=1)
    kept = np.zeros(0, np.int64)
    for index in np.argsort(-scores, kind="stable"):
        # Masks whose areas differ more than this cannot overlap as much.
        smaller = np.minimum(sizes[kept], sizes[index])
        like = kept[smaller > max_overlap * np.maximum(sizes[kept], sizes[index])]
        shared = np.count_nonzero(flat[like] & flat[index], axis=1)
        if (shared <= max_overlap * (sizes[like] + sizes[index] - shared)).all():
            kept = np.append(kept, index)
    return kept


def propose(
    points: Floats, embedding: Embedding, backend: Backend, options: GlobalRegionOptions
) -> tuple[Masks, Floats]:
    """Ask for what lies under every point, and keep what is good and new.

    Args:
        points: (P, 2) x, y in pixels.
        embedding: of the picture.
        backend: that made it.
        options: thresholds.

    Returns:
        (M, H, W) proposals and (M,) scores, best first.
    """
    found: dict[bytes, tuple[float, NDArray[np.bool_], NDArray[np.uint8]]] = {}
    for prompts in point_prompts(points):
        answers = backend.decode(
            embedding,
            prompts,
            min_score=options.min_score,
            min_stability=options.min_stability,
        )
        for mask, logits, score in zip(
            answers.masks, answers.logits > 0, answers.scores.tolist(), strict=True
        ):
            key = logits.tobytes()
            again = key in found and found[key][0] >= score
            if not again and np.count_nonzero(mask) >= options.min_area * mask.size:
                found[key] = score, logits, np.packbits(mask)
    height, width = embedding.image_hw
    scores = np.array([score for score, _, _ in found.values()], np.float32)
    small = np.reshape([logits for _, logits, _ in found.values()], (-1, *embedding.logits_hw))
    kept = suppress(small.astype(bool), scores, options.max_overlap)
    packed = [bits for _, _, bits in found.values()]
    full = [np.unpackbits(packed[index], count=height * width) for index in kept]
    return np.reshape(full, (-1, height, width)).astype(bool), scores[kept]


def vote(
    labels: LabelMap, masks: Masks, options: GlobalRegionOptions, background: int | None
) -> LabelMap:
    """Give every proposal the label most frequent inside it, large proposals first.

    Votes are counted on ``labels`` as it came in, so their order does not matter; where proposals
    overlap the smaller one decides, of equal ones the later. A tie goes to the lower id. IGNORE
    pixels neither vote nor change, and pixels of no proposal keep their label. With
    ``background_votes`` off the background is not counted, but a proposal without any object in it
    stays as it is. Labels that would shrink to less than half keep their pixels if ``protect``.

    Args:
        labels: (H, W).
        masks: (M, H, W) proposals.
        options: thresholds.
        background: id of the background, or None.

    Returns:
        (H, W) labels.
    """
    voted = labels.copy()
    known = labels != IGNORE
    sizes = np.array([-np.count_nonzero(mask) for mask in masks])
    for index in np.argsort(sizes, kind="stable"):
        inside = masks[index] & known
        counts = np.bincount(labels[inside])
        total = counts.sum()
        if not options.background_votes and background is not None and background < len(counts):
            counts[background] = 0
        if counts.sum() == 0:
            continue
        winner = int(counts.argmax())
        if counts[winner] >= options.min_purity * total:
            voted[inside] = winner
    if options.protect:
        before = np.bincount(labels[known])
        after = np.bincount(voted[known], minlength=len(before))
        for label in np.flatnonzero(before).tolist():
            if label != background and 2 * after[label] < before[label]:
                voted[labels == label] = label
    return voted


def refine_global(
    labels: LabelMap,
    embedding: Embedding,
    backend: Backend,
    options: GlobalRegionOptions,
    *,
    background: int | None = 0,
) -> LabelMap:
    """Let proposals for the whole picture vote over a label map.

    Args:
        labels: (H, W) usually the result of the local region optimizer.
        embedding: of the picture that ``labels`` belongs to.
        backend: that made ``embedding``.
        options: of this stage.
        background: id that is no object, or None.

    Returns:
        (H, W) labels; ``labels`` itself, copied, if ``grid`` is 0 or the vote would leave a single
        label (as the published procedure has it).

    Raises:
        InputError: ``labels`` is not int32 (H, W) or differs in size from the embedded picture.
    """
    check_label_map(labels, embedding.image_hw)
    if options.grid == 0:
        return labels.copy()
    points = grid_points(embedding.image_hw, options.grid)
    masks, _ = propose(points, embedding, backend, options)
    voted = vote(labels, masks, options, background)
    known = voted[voted != IGNORE]
    if len(known) and (known == known[0]).all():
        return labels.copy()
    return voted
