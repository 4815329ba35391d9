"""Several answers for every object: near the coarse shape, the whole of it, and without it.

A coarse mask may be the object with a blurred edge, a part of it, or too large, and what is right
depends on which. So an object is asked about in several ways, and a judge (``judge``) chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from uosam.demand import Later, OnDemand
from uosam.errors import InputError
from uosam.labels import box
from uosam.stages.judging.answers import (
    Answer,
    answers_by_row,
    best_answer,
    between,
    largest_answer,
)
from uosam.stages.redraw import take
from uosam.structures import Backend, Embedding, Floats, Mask, Prompts

KINDS = (
    "again",  # the prompts of the object, decoded again with their own mask
    "first",  # the same, decoded once
    "large",  # the largest of the three masks of that
    "close",  # what of "again" changes the coarse shape near its outline
    "blend",  # the mean of "again", "first" and the coarse shape
    "whole",  # the object behind a mask prompt that may be a part of it, decoded again
    "whole_first",  # the same, decoded once
    "whole_large",  # the largest of the three masks of that
    "box",  # its box alone
    "wide",  # a wider box alone
    "points",  # its points alone
    "joined",  # all parts of a class asked as one
    "joined_whole",  # the same, the whole object
)
"""How an answer came about."""

_WIDER = 1.5  # sides of the wide box, in sides of the object's
_ROWS = 48  # rows of prompts whose answers are in memory at a time


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate:
    """One answer for all parts of an object.

    Attributes:
        kind: of ``KINDS``.
        masks: (H, W) each, whose union is the answer.
        logits: (4h, 4w) on the logit grid.
        score: estimate of IoU, parts weighed by area, in [0, 1].
        stability: of the mask, parts weighed by area, in [0, 1].
    """

    kind: str
    masks: OnDemand[tuple[Mask, ...]] = OnDemand()  # noqa: RUF009
    logits: Floats
    score: float
    stability: float

    @property
    def mask(self) -> Mask:
        """(H, W) the answer at the size of the picture."""
        union = self.masks[0].copy()
        for more in self.masks[1:]:
            union |= more
        return union


def candidates(
    prompts: Prompts, embedding: Embedding, backend: Backend, kinds: Sequence[str]
) -> Iterator[tuple[int, list[Candidate]]]:
    """Ask about every object in several ways, some objects at a time.

    Args:
        prompts: rows of ``make_prompts``, parts of one label beside each other.
        embedding: of the picture.
        backend: that made it.
        kinds: of ``KINDS``; those that the backend or the prompts cannot give are left out.

    Yields:
        Label and its answers, empty ones left out, in the order of the prompts.

    Raises:
        InputError: ``prompts`` stand for no regions.
    """
    if prompts.asked is None:
        raise InputError("prompts must carry the regions they ask about; use make_prompts")
    groups = [
        np.flatnonzero(prompts.labels == label) for label in dict.fromkeys(prompts.labels.tolist())
    ]
    start = 0
    while start < len(groups):
        end, rows = start, 0
        while end < len(groups) and (end == start or rows + len(groups[end]) <= _ROWS):
            rows += len(groups[end])
            end += 1
        yield from _ask(prompts, groups[start:end], embedding, backend, kinds)
        start = end


def _ask(
    prompts: Prompts,
    groups: Sequence[NDArray[np.int64]],
    embedding: Embedding,
    backend: Backend,
    kinds: Sequence[str],
) -> Iterator[tuple[int, list[Candidate]]]:
    """Answer some objects: one decode of all ways to ask, and one from the masks it gave."""
    order = np.concatenate(groups)
    base = take(prompts, order.tolist())
    assert base.asked is not None
    bounds = np.cumsum([0, *map(len, groups)])
    found: dict[str, list[Answer | None]] = {}
    several = [index for index, group in enumerate(groups) if len(group) > 1]

    asks_whole = base.logits is not None and any(kind.startswith("whole") for kind in kinds)
    asks_whole = asks_whole and bool(getattr(backend, "answers_whole", False))
    answers = _faithful_and_whole(base, embedding, backend, asks_whole=asks_whole)
    for prefix, rows in zip(("", "whole_"), answers, strict=False):
        found[f"{prefix}first"] = [best_answer(row) for row in rows]
        found[f"{prefix}large"] = [largest_answer(row) for row in rows]
    for kind, asked in _other_ways(base, embedding, kinds).items():
        rows = answers_by_row(backend.decode(embedding, asked), len(base))
        found[kind] = [best_answer(row) for row in rows]
    joined: dict[str, list[Answer | None]] = {}
    if "joined" in kinds and several and base.logits is not None:
        as_one = _as_one(base, [range(bounds[i], bounds[i + 1]) for i in several])
        answers = _faithful_and_whole(as_one, embedding, backend, asks_whole=asks_whole)
        for kind, rows in zip(("joined", "joined_whole"), answers, strict=False):
            joined[kind] = [best_answer(row) for row in rows]
    again = {"again": found["first"]} if "again" in kinds else {}
    if "whole" in kinds and asks_whole:
        again["whole"] = found["whole_first"]
    found.update(_decode_again(base, again, embedding, backend))
    found.update(between(base, found["first"], found.get("again", found["first"]), embedding))
    for index, group in enumerate(groups):
        own = range(bounds[index], bounds[index + 1])
        areas = [int(np.count_nonzero(base.asked[row])) for row in own]
        options = []
        for kind in KINDS:
            if kind not in kinds:
                continue
            parts = [found[kind][row] for row in own] if kind in found else []
            if kind in joined and index in several:
                parts = [joined[kind][several.index(index)]]
            whole = _unite(kind, [part for part in parts if part is not None], areas)
            if whole is not None and len(parts) == sum(part is not None for part in parts):
                options.append(whole)
        yield int(prompts.labels[group[0]]), options


def _faithful_and_whole(
    asked: Prompts, embedding: Embedding, backend: Backend, *, asks_whole: bool
) -> list[list[list[Answer]]]:
    """Ask with the mask prompt as it is and, in the same batch, for the whole behind it."""
    amount = len(asked)
    if not asks_whole:
        return [answers_by_row(backend.decode(embedding, asked), amount)]
    both = take(asked, [*range(amount), *range(amount)])
    both = replace(both, whole=np.repeat([False, True], amount))
    rows = answers_by_row(backend.decode(embedding, both), 2 * amount)
    return [rows[:amount], rows[amount:]]


def _other_ways(base: Prompts, embedding: Embedding, kinds: Sequence[str]) -> dict[str, Prompts]:
    """Make the prompts that do without the coarse shape."""
    assert base.asked is not None
    rows = len(base)
    height, width = embedding.image_hw
    none = np.zeros((rows, 0, 2), np.float32), np.zeros((rows, 0), np.int8)
    boxes = np.stack([box(np.asarray(mask)) for mask in base.asked])
    asked = {}
    if "box" in kinds:
        asked["box"] = Prompts(
            points=none[0], point_labels=none[1], boxes=boxes, labels=base.labels
        )
    if "wide" in kinds:
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        half = (boxes[:, 2:] - boxes[:, :2]) / 2 * _WIDER
        wide = np.concatenate([centre - half, centre + half], axis=1)
        wide = np.clip(wide, 0, [width - 1, height - 1, width - 1, height - 1])
        asked["wide"] = Prompts(
            points=none[0],
            point_labels=none[1],
            boxes=wide.astype(np.float32),
            labels=base.labels,
        )
    if "points" in kinds and (base.point_labels == 1).any(axis=1).all():
        asked["points"] = Prompts(
            points=base.points, point_labels=base.point_labels, labels=base.labels
        )
    return asked


def _as_one(base: Prompts, groups: Sequence[range]) -> Prompts:
    """Ask for all parts of a class at once: one mask, one box, the points of the largest part."""
    assert base.asked is not None
    assert base.logits is not None
    firsts = take(base, [group[0] for group in groups])
    unions = [np.asarray(base.asked[list(group)].any(axis=0)) for group in groups]
    return replace(
        firsts,
        boxes=None
        if base.boxes is None
        else np.stack([box(np.asarray(union)) for union in unions]),
        logits=np.stack([base.logits[list(group)].max(axis=0) for group in groups]),
        asked=np.stack(unions),
    )


def _decode_again(
    base: Prompts,
    found: dict[str, list[Answer | None]],
    embedding: Embedding,
    backend: Backend,
) -> dict[str, list[Answer | None]]:
    """Prompt every answer with its own mask, that mask's box and the first points, in one batch.

    Source: UO-SAM (arXiv 2405.11742, section 3.2, "CR").
    """
    rows, boxes, logits = [], [], []
    for answers in found.values():
        for row, answer in enumerate(answers):
            if answer is not None:
                rows.append(row)
                boxes.append(box(answer.mask))
                logits.append(answer.logits)
    if not rows:
        return {kind: [None] * len(base) for kind in found}
    follow_up = replace(take(base, rows), boxes=np.stack(boxes), logits=np.stack(logits))
    better = iter(answers_by_row(backend.decode(embedding, follow_up, multimask=False), len(rows)))
    result: dict[str, list[Answer | None]] = {}
    for kind, answers in found.items():
        result[kind] = []
        for answer in answers:
            drawn = next(better) if answer is not None else []
            result[kind].append(drawn[0] if drawn else answer)
    return result


def _unite(kind: str, parts: Sequence[Answer], areas: Sequence[int]) -> Candidate | None:
    """Join the answers about the parts of one object: union, maximum of logits, scores by area."""
    if not parts:
        return None
    weights = np.asarray(areas if len(areas) == len(parts) else [1] * len(parts), float)
    logits = parts[0].logits
    for part in parts[1:]:
        logits = np.maximum(logits, part.logits)
    return Candidate(
        kind=kind,
        masks=Later(lambda: tuple(part.mask for part in parts)),
        logits=logits,
        score=float(np.average([part.score for part in parts], weights=weights)),
        stability=float(np.average([part.stability for part in parts], weights=weights)),
    )
