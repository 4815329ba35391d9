"""Stage 1: from a coarse map and the picture's features to prompts for every object.

Names in brackets are those of the UO-SAM paper (arXiv 2405.11742, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError
from uosam.labels import areas, box, components, to_grid
from uosam.stages.mask_prompts import mask_prompt
from uosam.structures import Embedding, Floats, LabelMap, Mask, Prompts

_FAISS_ROWS = 50_000  # from here on faiss clusters several times faster than scikit-learn


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """Which prompts an object gets.

    Attributes:
        min_area: smallest object that is redrawn, as a share of the picture in [0, 1]; smaller
            ones keep their shape.
        prototypes: feature clusters per object, each with a prototype of its own.
        positive_points: points per object inside it.
        negative_points: points per object outside it.
        point_source: "similarity" takes the extremes of the location confidence map; "distance"
            takes the pixel deepest inside the mask, and outside points from the corner of the
            box farthest from it.
        boxes: whether the box of the object is a prompt.
        whole_box: one box around the largest component (the paper) instead of one a component.
        mask: whether the coarse shape itself is a prompt, as a soft low-resolution mask.
        mask_strength: logit of a sure cell of that mask, above 0.
        mask_reach: distance from the outline, as a share of the picture's long side, at which a
            cell is sure; 0 makes all cells sure. Class scores, where there are any, say three
            tenths of it.
        split: give components of one class that lie apart a row each.
        min_component: smallest component with a row of its own, as a share of its object.
    """

    min_area: float = 0.0005
    prototypes: int = 1
    positive_points: int = 1
    negative_points: int = 0
    point_source: Literal["similarity", "distance"] = "distance"
    boxes: bool = True
    whole_box: bool = False
    mask: bool = True
    mask_strength: float = 2.0
    mask_reach: float = 0.0625
    split: bool = True
    min_component: float = 0.2

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share lies outside [0, 1], a count is negative, or no prompt is left.
        """
        for name in ("min_area", "min_component", "mask_reach"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"prompts.{name} must be in [0, 1], got {getattr(self, name)}")
        if min(self.positive_points, self.negative_points) < 0 or self.prototypes < 1:
            raise ConfigError(
                "prompts.positive_points and negative_points must be at least 0 and prototypes at "
                f"least 1, got {self.positive_points}, {self.negative_points}, {self.prototypes}"
            )
        if self.mask_strength <= 0:
            raise ConfigError(f"prompts.mask_strength must be above 0, got {self.mask_strength}")
        if self.point_source not in ("similarity", "distance"):
            raise ConfigError(
                f"prompts.point_source must be similarity or distance, got {self.point_source!r}"
            )
        if not (self.positive_points or self.boxes or self.mask):
            raise ConfigError(
                "prompts needs at least one of positive_points, boxes and mask; all are off"
            )


def cluster(vectors: Floats, amount: int) -> Floats:
    """Cluster rows by k-means, deterministically.

    Args:
        vectors: (n, C).
        amount: of clusters; capped at the number of distinct rows.

    Returns:
        (k, C) centres, k at most ``amount``.
    """
    amount = min(amount, len(np.unique(vectors, axis=0)))
    if amount <= 1:
        return np.asarray(vectors.mean(axis=0, keepdims=True), np.float32)
    if len(vectors) >= _FAISS_ROWS:
        import faiss

        model = faiss.Kmeans(vectors.shape[1], amount, niter=25, seed=0)
        model.train(np.ascontiguousarray(vectors, np.float32))
        return np.asarray(model.centroids, np.float32)
    from sklearn.cluster import KMeans

    fitted = KMeans(amount, n_init=3, random_state=0).fit(vectors)
    return np.asarray(fitted.cluster_centers_, np.float32)


def foreground_prototypes(embedding: Embedding, mask: Mask, amount: int = 1) -> Floats:
    """Describe an object by unit vectors of its cells' features (FFE).

    Args:
        embedding: of the picture.
        mask: (H, W) the object.
        amount: of clusters among the cells; 1 is the paper's mean.

    Returns:
        (k, C) unit vectors. An object smaller than a cell is described by the cell it fills most.
    """
    share = to_grid(mask, embedding)
    cells = share > 0.5 if (share > 0.5).any() else share >= share.max()
    centres = cluster(embedding.features[:, cells].T, amount)
    return _unit(centres, axis=1)


def _unit(vectors: Floats, axis: int) -> Floats:
    norm = np.linalg.norm(vectors, axis=axis, keepdims=True)
    return np.asarray(vectors / np.maximum(norm, 1e-12), np.float32)


def location_confidence(embedding: Embedding, prototypes: Floats) -> Floats:
    """Compare every cell with an object's prototypes (LCM).

    Returns:
        (rows, cols) of the grid that the picture covers; highest cosine similarity, in [-1, 1].
    """
    rows, cols = (max(1, round(side)) for side in embedding.extent)
    features = _unit(embedding.features[:, :rows, :cols], axis=0)
    similarity = np.einsum("kc,chw->khw", prototypes, features).max(axis=0)
    return np.asarray(similarity, np.float32)


def confidence_points(
    confidence: Floats, image_hw: tuple[int, int], positive: int, negative: int
) -> tuple[Floats, NDArray[np.int8]]:
    """Take the best and the worst places of a confidence map as points.

    Args:
        confidence: (rows, cols) from ``location_confidence``; enlarged bilinearly first.
        image_hw: size of the picture.
        positive: number of highest places, ties in raster order.
        negative: number of lowest places.

    Returns:
        (N, 2) x, y and (N,) labels 1 or 0.
    """
    height, width = image_hw
    enlarged = cv2.resize(confidence, (width, height), interpolation=cv2.INTER_LINEAR).ravel()
    order = np.argsort(-enlarged, kind="stable")
    chosen = np.concatenate([order[:positive], order[::-1][:negative]])
    points = np.stack([chosen % width, chosen // width], axis=1).astype(np.float32)
    labels = np.repeat(np.array([1, 0], np.int8), [len(order[:positive]), len(order[:negative])])
    return points, labels


def distance_points(mask: Mask, positive: int, negative: int) -> tuple[Floats, NDArray[np.int8]]:
    """Take points deep inside the mask, and in its box far outside the mask.

    Source: SAMRefiner (ICLR 2025), section 3.2; after each point a disc of its own depth is taken
    out, so that several points spread.

    Returns:
        (N, 2) x, y and (N,) labels 1 or 0. A mask that fills its box gives no negative point.
    """
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    x0, y0, x1, y1 = box(mask).astype(int)
    inside = np.pad(mask[y0 : y1 + 1, x0 : x1 + 1], 1).astype(np.uint8)
    outside = np.pad(1 - inside[1:-1, 1:-1], 1)
    for region, amount, label in ((inside, positive, 1), (outside, negative, 0)):
        # Negative points are far from the mask, not from the rim of the box.
        depth = cv2.distanceTransform(region if label else 1 - inside, cv2.DIST_L2, 5) * region
        for _ in range(amount):
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            if depth[y, x] <= 0:
                break
            points.append((float(x - 1 + x0), float(y - 1 + y0)))
            labels.append(label)
            rows, cols = np.ogrid[: depth.shape[0], : depth.shape[1]]
            depth[(rows - y) ** 2 + (cols - x) ** 2 <= max(1, depth[y, x]) ** 2] = 0
    return np.array(points, np.float32).reshape(-1, 2), np.array(labels, np.int8)


def object_masks(
    coarse: LabelMap, options: PromptOptions, background: int | None
) -> list[tuple[int, Mask]]:
    """List what is to be redrawn: label and mask, largest object first.

    Objects of equal area keep the order of their ids. A component of one object that lies apart
    has an entry of its own if ``split`` is set; specks stay with the largest component.
    """
    found = []
    sizes = {label: area for label, area in areas(coarse).items() if label != background}
    for label, area in sorted(sizes.items(), key=lambda item: -item[1]):
        if area < options.min_area * coarse.size:
            continue
        mask = coarse == label
        parts = components(mask, round(options.min_component * area)) if options.split else []
        if len(parts) > 1:
            parts[0] = mask & ~np.logical_or.reduce(parts[1:])
        found += [(label, part) for part in (parts if len(parts) > 1 else [mask])]
    return found


def make_prompts(
    coarse: LabelMap,
    embedding: Embedding,
    options: PromptOptions,
    *,
    background: int | None = 0,
    scores: Floats | None = None,
) -> Prompts:
    """Derive the prompts of every object of a coarse map.

    Args:
        coarse: (H, W) labels; IGNORE belongs to no object.
        embedding: of the picture that ``coarse`` labels.
        options: which prompts.
        background: id that is no object, or None.
        scores: (C, h, w) class probabilities, channel = id, for the soft mask; any resolution.

    Returns:
        One row per object, or per component of one that lies apart; largest object first.
    """
    objects = object_masks(coarse, options, background)
    points, point_labels, boxes, logits = [], [], [], []
    for label, mask in objects:
        if options.point_source == "similarity":
            prototypes = foreground_prototypes(embedding, mask, options.prototypes)
            confidence = location_confidence(embedding, prototypes)
            found = confidence_points(
                confidence, embedding.image_hw, options.positive_points, options.negative_points
            )
        else:
            found = distance_points(mask, options.positive_points, options.negative_points)
        points.append(found[0])
        point_labels.append(found[1])
        if options.boxes:
            boxes.append(box(components(mask)[0] if options.whole_box else mask))
        if options.mask:
            logits.append(
                mask_prompt(
                    coarse,
                    label,
                    mask,
                    embedding,
                    strength=options.mask_strength,
                    reach=options.mask_reach * max(embedding.image_hw),
                    scores=scores,
                )
            )
    rows = len(objects)
    return Prompts(
        points=_pad(points, (2,), 0.0).astype(np.float32),
        point_labels=_pad(point_labels, (), -1).astype(np.int8),
        boxes=np.reshape(boxes, (rows, 4)).astype(np.float32) if options.boxes else None,
        logits=(
            np.reshape(logits, (rows, *embedding.logits_hw)).astype(np.float32)
            if options.mask
            else None
        ),
        labels=np.array([label for label, _ in objects], np.int32),
        asked=np.reshape([mask for _, mask in objects], (rows, *coarse.shape)).astype(bool),
    )


def _pad(rows: Sequence[NDArray[np.generic]], tail: tuple[int, ...], fill: float) -> Floats:
    """Stack rows of different length, filled up with ``fill``."""
    longest = max((len(row) for row in rows), default=0)
    stacked = np.full((len(rows), longest, *tail), fill, np.float32)
    for index, row in enumerate(rows):
        stacked[index, : len(row)] = row
    return stacked
