"""Ask a segmenter for every object of a picture, and settle on one mask each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.labels import box, iou, without_small_regions
from uosam.stages.levels import OBJECTS, consent, may_be_part
from uosam.structures import Backend, Embedding, Floats, Mask, Masks, Prompts, Proposals

_ROWS = 128  # rows decoded at a time; only the winners' masks of a batch stay in memory
_REPEATS = 0.95  # a mask whose logits overlap this much with those of the prompt repeats it

Rule = Literal["score", "agreement", "product"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate:
    """The mask chosen for one row of prompts.

    Attributes:
        mask: (H, W).
        logits: (4h, 4w) on the logit grid.
        score: estimate of the mask's IoU, in [0, 1].
        changed: False if the coarse region itself was the best candidate.
        consent: how far the levels of granularity that were asked for agree, in [0, 1].
    """

    mask: Mask
    logits: Floats
    score: float
    changed: bool
    consent: float = 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Redraws:
    """One candidate per object, parts of one label united.

    Attributes:
        labels: (K,) ids, in the order of the prompts.
        masks: (K, H, W).
        logits: (K, 4h, 4w) on the logit grid, how sure the segmenter is of each place; enlarged one
            by one where pixels are decided, since a picture may hold hundreds of objects.
        scores: (K,) estimates of IoU, parts weighed by area.
        changed: (K,) whether any part differs from its coarse region.
        claims: (K, 4h, 4w) logits that decide about pixels of several objects, made in the same way
            for all of them; None for ``logits``.
        consents: (K,) how far levels of granularity agree, parts weighed by area; None where no
            levels were asked for.
        yields: (K,) whether an object that keeps its coarse shape gives up what its own claim
            leaves out and an accepted redraw takes; None for False.
    """

    labels: NDArray[np.int32]
    masks: Masks
    logits: Floats
    scores: Floats
    changed: NDArray[np.bool_]
    claims: Floats | None = None
    consents: Floats | None = None
    yields: NDArray[np.bool_] | None = None


def choose(
    proposals: Proposals, asked: Masks, prompted: Floats | None, rule: Rule
) -> dict[int, Candidate]:
    """Pick one mask a row.

    A row's candidate that repeats the mask it was prompted with, if there is one, stands for
    leaving the object alone. Of levels of granularity, parts are in the choice only where the
    region may be a part (``levels.may_be_part``).

    Args:
        proposals: answers to any number of rows.
        asked: (B, H, W) the coarse region behind each row.
        prompted: (B, 4h, 4w) logits of the mask prompts, or None.
        rule: what makes a mask good: its "score", its "agreement" (IoU with the coarse region),
            or the "product" of both; ties go to the earlier mask.

    Returns:
        Candidates by row; rows without an answer, or with empty ones only, are absent.
    """
    answers: dict[int, list[int]] = defaultdict(list)
    cells = proposals.cut()
    for index in np.flatnonzero(proposals.have(1)).tolist():
        answers[int(proposals.row[index])].append(index)
    chosen = {}
    for row, indices in sorted(answers.items()):
        levels, agreed = proposals.level[indices].tolist(), 1.0
        if any(levels):
            agreed = consent(levels, [np.unpackbits(cells[index]) > 0 for index in indices])
            masks = [proposals.mask(index) for index in indices]
            if not may_be_part(levels, masks, asked[row]):
                indices = [i for i, level in zip(indices, levels, strict=True) if level <= OBJECTS]
        value = proposals.scores[indices].astype(np.float64)
        if rule != "score":
            agreement = [iou(proposals.mask(index), asked[row]) for index in indices]
            factor = proposals.scores[indices] if rule == "product" else 1
            value = (factor * np.array(agreement)).astype(np.float64)
        same, repeated = 0, False
        if prompted is not None:
            repeats = np.packbits(prompted[row] > 0)
            likeness = [_iou_of_bits(cells[index], repeats) for index in indices]
            same = int(np.argmax(likeness))
            repeated = likeness[same] >= _REPEATS
        best = int(value.argmax())
        unchanged = repeated and best == same
        chosen[row] = Candidate(
            mask=asked[row] if unchanged else proposals.mask(indices[best]),
            logits=proposals.grid(indices[best]),
            score=float(proposals.scores[indices[best]]),
            changed=not unchanged,
            consent=agreed,
        )
    return chosen


def _iou_of_bits(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """IoU of packed masks, nan where both are empty."""
    union = cv2.norm(one | other, cv2.NORM_HAMMING)
    return float(cv2.norm(one & other, cv2.NORM_HAMMING) / union) if union else float("nan")


def take(prompts: Prompts, rows: Sequence[int]) -> Prompts:
    """Pick rows of a batch."""
    index = np.asarray(rows, np.int64)
    return Prompts(
        points=prompts.points[index],
        point_labels=prompts.point_labels[index],
        boxes=None if prompts.boxes is None else prompts.boxes[index],
        logits=None if prompts.logits is None else prompts.logits[index],
        labels=prompts.labels[index],
        asked=None if prompts.asked is None else prompts.asked[index],
        levels=None if prompts.levels is None else prompts.levels[index],
        whole=None if prompts.whole is None else prompts.whole[index],
    )


def _follow_up(prompts: Prompts, chosen: dict[int, Candidate]) -> Prompts:
    """Prompt every chosen row with its own mask, that mask's box, and the first points."""
    rows = list(chosen)
    return replace(
        take(prompts, rows),
        boxes=np.stack([box(chosen[row].mask) for row in rows]),
        logits=np.stack([chosen[row].logits for row in rows]),
        levels=None,  # the mask says by now what is meant
    )


def decode_cascade(
    prompts: Prompts,
    embedding: Embedding,
    backend: Backend,
    *,
    steps: int,
    rule: Rule,
) -> dict[int, Candidate]:
    """Decode all rows, then refine the winners with their own masks as prompts.

    Source: UO-SAM (arXiv 2405.11742, section 3.2, "CR"); the later steps ask for a single mask.

    Args:
        prompts: with ``asked`` set.
        embedding: of the picture.
        backend: that made it.
        steps: decodes in a row, at least 1.
        rule: as in ``choose``.

    Returns:
        As ``choose``, for rows of ``prompts``.

    Raises:
        InputError: ``prompts`` stand for no regions.
    """
    if prompts.asked is None:
        raise InputError("prompts must carry the regions they ask about; use make_prompts")
    chosen = {}
    for start in range(0, len(prompts), _ROWS):
        part = take(prompts, range(start, min(start + _ROWS, len(prompts))))
        assert part.asked is not None
        found = choose(backend.decode(embedding, part), part.asked, part.logits, rule)
        chosen.update({start + row: candidate for row, candidate in found.items()})
    for _ in range(steps - 1):
        changed = {row: found for row, found in chosen.items() if found.changed}
        if not changed:
            break
        rows = list(changed)
        answers = backend.decode(embedding, _follow_up(prompts, changed), multimask=False)
        better = choose(answers, prompts.asked[rows], None, rule)
        chosen.update(
            {
                rows[new]: replace(found, consent=chosen[rows[new]].consent)
                for new, found in better.items()
            }
        )
    return chosen


def unite(
    chosen: dict[int, Candidate],
    labels: Iterable[int],
    embedding: Embedding,
    min_region: float = 0.0,
) -> Redraws:
    """Join the parts of each label: union of masks, maximum of logits, scores by area.

    Args:
        chosen: by row.
        labels: of all rows.
        embedding: of the picture.
        min_region: smallest part and smallest hole of a redrawn mask, as a share of it.
    """
    groups: dict[int, list[Candidate]] = defaultdict(list)
    for row, label in enumerate(labels):
        if row in chosen:
            groups[int(label)].append(chosen[row])
    masks = np.zeros((len(groups), *embedding.image_hw), bool)
    logits = np.full((len(groups), *embedding.logits_hw), -np.inf, np.float32)
    scores = np.zeros(len(groups), np.float32)
    consents = np.ones(len(groups), np.float32)
    for index, parts in enumerate(groups.values()):
        for part in parts:
            masks[index] |= part.mask
            np.maximum(logits[index], part.logits, out=logits[index])
        if any(part.changed for part in parts):
            area = np.count_nonzero(masks[index])
            masks[index] = without_small_regions(masks[index], min_region * area)
        weights = [np.count_nonzero(part.mask) for part in parts]
        scores[index] = np.average([part.score for part in parts], weights=weights)
        consents[index] = np.average([part.consent for part in parts], weights=weights)
    return Redraws(
        labels=np.array(list(groups), np.int32),
        masks=masks,
        logits=logits,
        scores=scores,
        changed=np.array([any(p.changed for p in parts) for parts in groups.values()], bool),
        consents=consents,
    )
