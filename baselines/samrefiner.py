"""SAMRefiner's noise-tolerant prompts, with split-then-merge for maps of classes.

Lin et al., "SAMRefiner: Taming Segment Anything Model for Universal Mask Refinement", ICLR 2025
(arXiv 2502.06756), section 3.2 (points, context-aware elastic box, Gaussian mask) and the split and
merge of components for semantic masks; constants are those of the published program.
"""

from __future__ import annotations

import cv2
import numpy as np

from uosam.labels import areas, box, check_label_map, components, to_grid
from uosam.stages.merge import merge
from uosam.stages.prompts import distance_points, foreground_prototypes, location_confidence
from uosam.stages.redraw import Candidate, unite
from uosam.structures import (
    LOGIT_SCALE,
    Backend,
    Embedding,
    Floats,
    Image,
    LabelMap,
    Mask,
    Prompts,
)

SPECK = 5
"""Pixels below which a component is dropped."""


def refine_samrefiner(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    *,
    background: int | None = 0,
    iterations: int = 5,
    gamma: float = 4.0,
    strength: float = 30.0,
    margin: float = 0.0,
    split: bool = True,
) -> LabelMap:
    """Prompt for every part of every object, again and again with its own last mask.

    The program answers for single masks. Here parts are united by label, and a pixel that two
    objects claim goes to the surer one; what an object gives up becomes background or, without
    one, goes to the object of highest logit.

    Args:
        image: (H, W, 3) RGB; encoded once.
        coarse: (H, W) labels; IGNORE stays where it is.
        backend: any segmenter; of its masks the one of highest score is taken.
        background: id that is no object, or None.
        iterations: decodes in a row, at least 1.
        gamma: how steeply the mask prompt falls off from the middle of a part.
        strength: largest logit of the mask prompt, above 0.
        margin: least share of pixels like the object in a strip outside a side of its box that
            pushes the side out; 0 leaves boxes alone (the program's default).
        split: whether components have prompts of their own.

    Returns:
        (H, W) labels; an object without an answer keeps its shape.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    embedding = backend.embed(image)
    labels, masks = [], []
    for label in areas(coarse):
        if label != background:
            inside = coarse == label
            parts = split_then_merge(inside) if split else [inside]
            masks += parts
            labels += [label] * len(parts)
    if not masks:
        return coarse.copy()
    chosen: dict[int, Candidate] = {}
    for _ in range(iterations):
        prompts = noise_tolerant_prompts(masks, labels, embedding, gamma, strength, margin)
        found = backend.decode(embedding, prompts)
        for index in np.argsort(found.scores, kind="stable").tolist():  # the best comes last
            if found.masks[index].any():
                row = int(found.row[index])
                masks[row] = found.masks[index]
                chosen[row] = Candidate(
                    mask=found.masks[index],
                    logits=found.logits[index],
                    score=float(found.scores[index]),
                    changed=True,
                )
        assert prompts.logits is not None
        for row in set(range(len(masks))) - chosen.keys():  # nothing was said about this part
            chosen[row] = Candidate(
                mask=masks[row], logits=prompts.logits[row], score=0.0, changed=False
            )
    redraws = unite(dict(sorted(chosen.items())), labels, embedding)
    return merge(coarse, redraws, redraws.changed, embedding, background, "logits")


def noise_tolerant_prompts(
    masks: list[Mask],
    labels: list[int],
    embedding: Embedding,
    gamma: float = 4.0,
    strength: float = 30.0,
    margin: float = 0.0,
) -> Prompts:
    """Derive the paper's three prompts of each mask: two points, a box and a Gaussian mask.

    Points are the deepest pixel inside, and within the box the pixel farthest from the mask; a mask
    that fills its box has no second one.

    Args:
        masks: (H, W) each, none empty.
        labels: one a mask.
        embedding: of the picture.
        gamma: as in ``gaussian_logits``.
        strength: as in ``gaussian_logits``; 1 where the box was pushed out, as in the program.
        margin: as in ``elastic_box``.
    """
    rows = len(masks)
    points, point_labels = np.zeros((rows, 2, 2), np.float32), np.full((rows, 2), -1, np.int8)
    boxes, logits = [], []
    for row, mask in enumerate(masks):
        xy, kind = distance_points(mask, 1, 1)
        points[row, : len(xy)], point_labels[row, : len(xy)] = xy, kind
        boxes.append(elastic_box(mask, embedding, margin))
        pushed = not np.array_equal(boxes[-1], box(mask))
        logits.append(gaussian_logits(mask, embedding, gamma, 1.0 if pushed else strength))
    return Prompts(
        points=points,
        point_labels=point_labels,
        boxes=np.stack(boxes),
        logits=np.stack(logits),
        labels=np.array(labels, np.int32),
    )


def gaussian_logits(mask: Mask, embedding: Embedding, gamma: float, strength: float) -> Floats:
    """Return a mask prompt that is surest in the middle of the mask.

    With d the distance to the outline, a pixel inside is
    strength * exp(-gamma (d - max d)^2 / area), and one outside is -strength.

    Returns:
        (4h, 4w) on the logit grid of the embedding.
    """
    inside = np.pad(mask, 1).astype(np.uint8)  # outside the picture is outside the mask
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    fall = np.exp(-gamma * (depth - depth.max()) ** 2 / np.count_nonzero(mask))
    value = np.where(mask, strength * fall, -strength)
    # Cells beyond the picture are 0 on the grid, hence the shift.
    return to_grid(value + strength, embedding, scale=LOGIT_SCALE) - np.float32(strength)


def elastic_box(mask: Mask, embedding: Embedding, margin: float) -> Floats:
    """Push out the sides of a mask's box beyond which the picture looks like the object.

    A strip of 10 % of the side, 10 pixels at most, is looked at; a cell is like the object if its
    cosine with the object's mean feature is above 0.5.

    Args:
        mask: (H, W).
        embedding: of the picture.
        margin: least share of such pixels in a strip; 0 returns the tight box.

    Returns:
        (4,) x0, y0, x1, y1, inclusive.
    """
    tight = box(mask)
    if margin <= 0:
        return tight
    height, width = mask.shape
    near = location_confidence(embedding, foreground_prototypes(embedding, mask))
    alike = cv2.resize(near, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    x0, y0, x1, y1 = tight.astype(int).tolist()
    across, down = (max(1, min(10, round(0.1 * side))) for side in (x1 - x0 + 1, y1 - y0 + 1))
    rows, cols = slice(y0, y1 + 1), slice(x0, x1 + 1)
    strips = (
        (rows, slice(max(0, x0 - across), x0)),
        (slice(max(0, y0 - down), y0), cols),
        (rows, slice(x1 + 1, x1 + 1 + across)),
        (slice(y1 + 1, y1 + 1 + down), cols),
    )
    pushed = tight.copy()
    for side, strip in enumerate(strips):
        found = alike[strip]
        if found.size and found.mean() > margin:
            pushed[side] += found.shape[1 - side % 2] * (-1 if side < 2 else 1)
    return pushed


def split_then_merge(mask: Mask) -> list[Mask]:
    """Split a class into components, and join again those that look like one object.

    Components below five pixels are dropped. Two are joined if their boxes together are more than
    half as large as the joint box, and the joint box is filled by more than half or nearly as well
    (0.1 less) as the emptier of both.

    Returns:
        (H, W) masks, in the order of their first pixels.
    """
    parts = sorted(components(mask, SPECK), key=lambda part: int(part.argmax()))
    first = 0
    while first < len(parts):
        second = first + 1
        while second < len(parts):
            if _belong_together(parts[first], parts[second]):
                parts[first] = parts[first] | parts.pop(second)
            else:
                second += 1
        first += 1
    return parts


def _belong_together(first: Mask, second: Mask) -> bool:
    pixels = [np.count_nonzero(part) for part in (first, second)]
    boxes = [_box_area(part) for part in (first, second)]
    joint = _box_area(first | second)
    emptier = min(area / size for area, size in zip(pixels, boxes, strict=True))
    return sum(boxes) > 0.5 * joint and sum(pixels) / joint > min(0.5, emptier - 0.1)


def _box_area(mask: Mask) -> float:
    x0, y0, x1, y1 = box(mask).tolist()
    return float((x1 - x0 + 1) * (y1 - y0 + 1))
