"""Settle on one redraw for every object: by a fitted judge, or by a rule where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uosam.labels import iou, without_small_regions
from uosam.stages.judging.candidates import Candidate, candidates
from uosam.stages.judging.evidence import evidence, lay_ground
from uosam.stages.judging.judge import Judge
from uosam.stages.redraw import Redraws, decode_cascade, unite
from uosam.structures import (
    Backend,
    Decision,
    Embedding,
    Image,
    LabelMap,
    Mask,
    Prompts,
)

if TYPE_CHECKING:
    from uosam.stages.local_region import LocalRegionOptions

_CLAIM = "again"  # the kind of answer whose logits decide about pixels of several objects
_YIELDS = 0.9
"""IoU of that answer and the coarse shape from which on an object that keeps the shape yields what
the answer leaves out: two that agree so far differ about the outline, not about the object."""


def redraw_by_judge(
    coarse: LabelMap,
    image: Image,
    prompts: Prompts,
    embedding: Embedding,
    backend: Backend,
    judge: Judge,
    *,
    min_region: float,
    background: int | None,
) -> tuple[Redraws, tuple[Decision, ...]]:
    """Ask about every object in several ways and take the answer that is expected to gain most.

    Args:
        coarse: (H, W) labels.
        image: (H, W, 3) RGB.
        prompts: rows of ``make_prompts``.
        embedding: of ``image``.
        backend: that made it.
        judge: fitted for ``backend``.
        min_region: as ``LocalRegionOptions``.
        background: id, or None.

    Returns:
        The best answer of every object that has one; and a decision for every object, in the order
        of the prompts: "accepted"; "no gain" where none is expected; "unchanged" where the best
        answer is the coarse shape; "no answer".
    """
    ground = lay_ground(coarse, image, embedding, background)
    taken: list[tuple[int, Candidate, Mask, bool]] = []
    claims, yields = [], []
    decisions = []
    for label, found in candidates(prompts, embedding, backend, judge.kinds):
        old = coarse == label
        parts = int(np.count_nonzero(prompts.labels == label))
        area = int(np.count_nonzero(old))
        if not found:
            decisions.append(
                Decision(
                    label=label,
                    accepted=False,
                    reason="no answer",
                    score=0.0,
                    agreement=0.0,
                    area=area,
                )
            )
            continue
        gains = judge.expected_gain(evidence(label, old, parts, found, embedding, ground))
        index = int(gains.argmax())
        best, gain = found[index], float(gains[index])
        mask = without_small_regions(best.mask, min_region * np.count_nonzero(best.mask))
        agreement = iou(mask, old)
        reason = "no gain" if gain <= 0 else "unchanged" if agreement == 1 else "accepted"
        taken.append((label, best, mask, reason == "accepted"))
        # Logits of different kinds of answers do not compare.
        claim = next((one for one in found if one.kind == _CLAIM), best)
        claims.append(claim.logits)
        yields.append(iou(claim.mask, old) >= _YIELDS)
        decisions.append(
            Decision(
                label=label,
                accepted=reason == "accepted",
                reason=reason,
                score=best.score,
                agreement=agreement,
                area=area,
                answer=best.kind,
                gain=gain,
            )
        )
    redraws = Redraws(
        labels=np.array([label for label, *_ in taken], np.int32),
        masks=np.reshape([mask for _, _, mask, _ in taken], (-1, *coarse.shape)).astype(bool),
        logits=np.reshape([best.logits for _, best, _, _ in taken], (-1, *embedding.logits_hw)),
        scores=np.array([best.score for _, best, _, _ in taken], np.float32),
        changed=np.array([changed for *_, changed in taken], bool),
        claims=np.reshape(claims, (-1, *embedding.logits_hw)),
        yields=np.array(yields, bool),
    )
    return redraws, tuple(decisions)


def passes(
    mask: Mask, score: float, coarse: Mask, options: LocalRegionOptions
) -> tuple[str, float]:
    """Decide by rule whether a redraw that differs from the coarse object may replace it.

    Returns:
        "accepted", or the first test that failed: "agreement", "score"; and the IoU of redraw and
        coarse object.
    """
    agreement = iou(mask, coarse)
    if options.gate and not agreement >= options.min_agreement:
        return "agreement", agreement
    if options.gate and not score >= options.min_score:
        return "score", agreement
    return "accepted", agreement


def redraw_by_rule(
    coarse: LabelMap,
    prompts: Prompts,
    embedding: Embedding,
    backend: Backend,
    options: LocalRegionOptions,
) -> tuple[Redraws, tuple[Decision, ...]]:
    """Redraw every object by a cascade, and test each redraw against fixed limits.

    Args:
        coarse: (H, W) labels.
        prompts: rows of ``make_prompts``.
        embedding: of the picture.
        backend: that made it.
        options: of the local stage.

    Returns:
        One redraw of every object that has an answer, and what ``decide`` says.
    """
    chosen = decode_cascade(prompts, embedding, backend, steps=options.cascade, rule=options.choose)
    redraws = unite(chosen, prompts.labels.tolist(), embedding, options.min_region)
    return redraws, decide(coarse, prompts, redraws, options)


def decide(
    coarse: LabelMap, prompts: Prompts, redraws: Redraws, options: LocalRegionOptions
) -> tuple[Decision, ...]:
    """Pass the rule over every prompted label.

    Returns:
        One decision per label, in the order of the prompts. Its reason is "accepted", a test of
        ``passes`` that failed, "consent" where the levels of granularity that were asked for differ
        too much, "unchanged" where the coarse shape was the best answer, or "no answer".
    """
    answered = redraws.labels.tolist()
    decisions = []
    for label in dict.fromkeys(prompts.labels.tolist()):
        mask = coarse == label
        reason, score, agreement = "no answer", 0.0, 0.0
        if label in answered:
            index = answered.index(label)
            score = float(redraws.scores[index])
            reason, agreement = "unchanged", 1.0
            if redraws.changed[index]:
                reason, agreement = passes(redraws.masks[index], score, mask, options)
            agreed = 1.0 if redraws.consents is None else float(redraws.consents[index])
            if reason == "accepted" and options.gate and agreed < options.min_consent:
                reason = "consent"
        decisions.append(
            Decision(
                label=label,
                accepted=reason == "accepted",
                reason=reason,
                score=score,
                agreement=agreement,
                area=int(np.count_nonzero(mask)),
            )
        )
    return tuple(decisions)
