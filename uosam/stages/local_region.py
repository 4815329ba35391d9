"""Stage 2, the local region optimizer: redraw every object, keep what can be vouched for.

The cascade is that of UO-SAM (arXiv 2405.11742, section 3.2, "CR"); gate and merge are ours: the
published script rejects a whole picture for one object, and erases objects it never prompted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from uosam.errors import ConfigError
from uosam.labels import check_label_map, colour_gradient, from_logits, iou
from uosam.stages.levels import ask_levels, check_levels
from uosam.stages.merge import merge
from uosam.stages.redraw import Redraws, Rule, decode_cascade, unite
from uosam.structures import (
    IGNORE,
    Backend,
    Decision,
    Embedding,
    Floats,
    Image,
    LabelMap,
    Mask,
    Prompts,
)


@dataclass(frozen=True, kw_only=True)
class LocalRegionOptions:
    """How objects are redrawn and which redraws are kept.

    Attributes:
        enabled: whether the stage runs; off, the coarse map passes on.
        rounds: how often the stage runs, prompts and gate included, each time on the map of the
            time before; more than one helps coarse masks that are far off.
        cascade: decodes in a row; from the second on, an object's own last mask, its box and the
            first points are the prompts.
        choose: which of a row's masks wins: the one of highest "score", of highest "agreement"
            (IoU with the coarse object), or of highest "product" of both.
        gate: whether an object may keep its coarse shape; without it every redraw is taken.
        min_gain: by how much a redraw's score must beat that of the coarse shape, where the
            segmenter offers the coarse shape as one of its answers; at least 0.
        min_agreement: least IoU of redraw and coarse object, in [0, 1].
        min_score: least estimate of the redraw's IoU, in [0, 1].
        min_contrast: least ratio of the picture's gradient under the new outline to that under
            the old one, at least 0.
        max_growth: largest ratio of the redraw's area to the coarse object's, or of the inverse.
        min_region: smallest part and smallest hole of a redraw, as a share of it, in [0, 1]; what
            is smaller is removed or filled.
        levels: levels of granularity that the first decode asks for, 1 whole to 6 smallest part,
            rising; () lets the segmenter choose.
        merge: "logits" gives a contested pixel to the surer object; "paint" lets smaller objects
            overwrite larger ones (the paper).
    """

    enabled: bool = True
    rounds: int = 1
    cascade: int = 2
    choose: Rule = "score"
    gate: bool = True
    min_gain: float = 0.0
    min_agreement: float = 0.1
    min_score: float = 0.5
    min_contrast: float = 0.0
    max_growth: float = 10.0
    min_region: float = 0.01
    levels: tuple[int, ...] = ()
    merge: Literal["logits", "paint"] = "logits"

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share lies outside [0, 1], a count or ratio is too small, or ``levels``
                are none.
        """
        check_levels(self.levels, "local_region.levels")
        for name in ("min_agreement", "min_score", "min_region"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"local_region.{name} must be in [0, 1], got {getattr(self, name)}"
                )
        for name, least in (
            ("rounds", 1),
            ("cascade", 1),
            ("min_gain", 0),
            ("min_contrast", 0),
            ("max_growth", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"local_region.{name} must be at least {least}, got {getattr(self, name)}"
                )
        for name, offered in (
            ("choose", ("score", "agreement", "product")),
            ("merge", ("logits", "paint")),
        ):
            if getattr(self, name) not in offered:
                raise ConfigError(
                    f"local_region.{name} must be one of {', '.join(offered)}, "
                    f"got {getattr(self, name)!r}"
                )


@dataclass(frozen=True, eq=False, kw_only=True)
class LocalResult:
    """The map after redrawing, what was decided, and how sure each pixel's label is.

    Attributes:
        labels: (H, W).
        decisions: one per prompted label, in the order of the prompts.
        confidence: (H, W) in [0, 1]; 0.5 where no prompt asked, 0 on IGNORE.
    """

    labels: LabelMap
    decisions: tuple[Decision, ...]
    confidence: Floats


def contrast_ratio(new: Mask, old: Mask, gradient: Floats) -> float:
    """Compare the gradient under the parts of two outlines that differ.

    Returns:
        Mean under the new outline over mean under the old one; 1.0 where either has no part of its
        own. Both are measured on the pixels just inside and outside the outline.
    """
    kernel = np.ones((3, 3), np.uint8)
    outlines = [
        cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, kernel) > 0
        for mask in (new, old)
    ]
    only_new, only_old = outlines[0] & ~outlines[1], outlines[1] & ~outlines[0]
    if not only_new.any() or not only_old.any():
        return 1.0
    return float(gradient[only_new].mean() / max(1e-6, gradient[only_old].mean()))


def judge(
    mask: Mask, score: float, coarse: Mask, gradient: Floats, options: LocalRegionOptions
) -> tuple[str, float]:
    """Decide whether a redraw that differs from the coarse object may replace it.

    Returns:
        "accepted", or the first test that failed: "agreement", "score", "growth", "contrast"; and
        the IoU of redraw and coarse object.
    """
    agreement = iou(mask, coarse)
    if not options.gate:
        return "accepted", agreement
    growth = np.count_nonzero(mask) / np.count_nonzero(coarse)
    tests = (
        ("agreement", agreement >= options.min_agreement),
        ("score", score >= options.min_score),
        ("growth", 1 / options.max_growth <= growth <= options.max_growth),
        ("contrast", contrast_ratio(mask, coarse, gradient) >= options.min_contrast),
    )
    return next((name for name, passed in tests if not passed), "accepted"), agreement


def decide(
    coarse: LabelMap,
    image: Image,
    prompts: Prompts,
    redraws: Redraws,
    options: LocalRegionOptions,
) -> tuple[Decision, ...]:
    """Pass the gate over every prompted label.

    Returns:
        One decision per label, in the order of the prompts. Its reason is "accepted", a test of
        ``judge`` that failed, "unchanged" where the coarse shape was the best answer, or
        "no answer".
    """
    gradient = colour_gradient(image)
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
                reason, agreement = judge(redraws.masks[index], score, mask, gradient, options)
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


def final_verdicts(verdicts: Sequence[Decision]) -> list[Decision]:
    """Count an object once, in however many rounds it was asked for.

    Returns:
        For each object the first verdict that changed it; if none did, that of the first round,
        whose reasons are about the mask that came in.
    """
    final: dict[int, Decision] = {}
    for verdict in verdicts:
        known = final.setdefault(verdict.label, verdict)
        if verdict.accepted and not known.accepted:
            final[verdict.label] = verdict
    return list(final.values())


def refine_local(
    coarse: LabelMap,
    image: Image,
    prompts: Prompts,
    embedding: Embedding,
    backend: Backend,
    options: LocalRegionOptions,
    *,
    background: int | None = 0,
) -> LocalResult:
    """Redraw every prompted object and keep the redraws that pass the gate.

    Args:
        coarse: (H, W) labels, IGNORE where unknown.
        image: (H, W, 3) RGB.
        prompts: rows of ``make_prompts``; several rows may stand for one label.
        embedding: of ``image``.
        backend: the segmenter that made ``embedding``.
        options: of this stage.
        background: id that is no object, or None.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from the embedded picture.
    """
    check_label_map(coarse, embedding.image_hw)
    confidence = np.full(coarse.shape, 0.5, np.float32)
    confidence[coarse == IGNORE] = 0
    if not len(prompts) or not options.enabled:
        return LocalResult(labels=coarse.copy(), decisions=(), confidence=confidence)
    chosen = decode_cascade(
        ask_levels(prompts, options.levels),
        embedding,
        backend,
        steps=options.cascade,
        rule=options.choose,
        min_gain=options.min_gain if options.gate else 0.0,
    )
    redraws = unite(chosen, prompts.labels.tolist(), embedding, options.min_region)
    decisions = decide(coarse, image, prompts, redraws, options)
    reasons = {decision.label: decision.accepted for decision in decisions}
    answered = redraws.labels.tolist()
    accepted = np.array([reasons[label] for label in answered], bool)
    merged = merge(coarse, redraws, accepted, embedding, background, options.merge)
    highest = np.zeros(coarse.shape, np.float32)
    for index, label in enumerate(answered):
        sure = 1 / (1 + np.exp(-np.clip(from_logits(redraws.logits[index], embedding), -30, 30)))
        confidence[merged == label] = sure[merged == label]
        np.maximum(highest, sure, out=highest)
    if answered and background is not None:
        confidence[merged == background] = 1 - highest[merged == background]
    return LocalResult(labels=merged, decisions=decisions, confidence=confidence)
