"""Single masks that answer a row of prompts, and what lies between them and the coarse shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from uosam.demand import Later, OnDemand
from uosam.labels import from_logits, signed_distance, to_grid
from uosam.structures import LOGIT_SCALE, Embedding, Floats, Mask, Prompts, Proposals

_NEAR = 0.08  # of the object's size: how far from its outline the close answer may change it


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """One mask of a row; mask and logits are made when they are asked for.

    Attributes:
        mask: (H, W).
        logits: (4h, 4w).
        score: estimate of IoU, in [0, 1].
        stability: in [0, 1].
        cells: of the logit grid that the segmenter filled.
    """

    mask: OnDemand[Mask] = OnDemand()  # noqa: RUF009
    logits: OnDemand[Floats] = OnDemand()  # noqa: RUF009
    score: float
    stability: float
    cells: int


def best_answer(row: Sequence[Answer]) -> Answer | None:
    """Return the mask of highest score; None of none."""
    return max(row, key=lambda answer: answer.score, default=None)


def largest_answer(row: Sequence[Answer]) -> Answer | None:
    """Return the mask of most cells; None of none."""
    return max(row, key=lambda answer: answer.cells, default=None)


def answers_by_row(answers: Proposals, rows: int) -> list[list[Answer]]:
    """Sort masks by the row they answer; empty ones are left out."""
    sorted_: list[list[Answer]] = [[] for _ in range(rows)]
    cells = [int(cv2.norm(bits, cv2.NORM_HAMMING)) for bits in answers.cut()]
    for index in np.flatnonzero(answers.have(1)).tolist():
        if cells[index]:
            sorted_[answers.row[index]].append(
                Answer(
                    mask=Later(partial(answers.mask, index)),
                    logits=Later(partial(answers.grid, index)),
                    score=float(answers.scores[index]),
                    stability=float(answers.stability[index]),
                    cells=cells[index],
                )
            )
    return sorted_


def between(
    base: Prompts,
    first: Sequence[Answer | None],
    again: Sequence[Answer | None],
    embedding: Embedding,
) -> dict[str, list[Answer | None]]:
    """Make the answers that lie between the coarse shape and the redraw."""
    assert base.asked is not None
    close: list[Answer | None] = []
    blend: list[Answer | None] = []
    for row, (one, two) in enumerate(zip(first, again, strict=True)):
        if one is None or two is None:
            close.append(None)
            blend.append(None)
            continue
        share = to_grid(base.asked[row], embedding, scale=LOGIT_SCALE)
        coarse = share > 0.5 if (share > 0.5).any() else share >= share.max()
        reach = max(1.0, _NEAR * float(np.sqrt(np.count_nonzero(coarse))))
        limit = signed_distance(coarse) / reach
        # Beyond the reach the coarse shape holds; nearer, the redraw.
        near = np.where(np.abs(limit) < 1, two.logits, np.where(limit > 0, 1, -1) * 4.0)
        mean = (_sigmoid(one.logits) + _sigmoid(two.logits) + np.clip(limit / 2 + 0.5, 0, 1)) / 3
        odds = np.log(np.clip(mean, 1e-4, 1 - 1e-4) / np.clip(1 - mean, 1e-4, 1))
        for answers, logits in ((close, near), (blend, odds)):
            field = np.asarray(logits, np.float32)
            mask = from_logits(field, embedding) > 0
            answers.append(replace(two, mask=mask, logits=field) if mask.any() else None)
    return {"close": close, "blend": blend}


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)
