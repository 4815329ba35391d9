"""Stage 2, the local region optimizer: redraw every object, keep what can be vouched for.

The cascade is that of UO-SAM (arXiv 2405.11742, section 3.2, "CR"); gate and merge are ours: the
published script rejects a whole picture for one object, and erases objects it never prompted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from uosam.errors import ConfigError
from uosam.labels import check_label_map, from_logits
from uosam.stages.judging.judge import judge_of
from uosam.stages.levels import OBJECTS, ask_levels, check_levels
from uosam.stages.merge import merge, without_strays
from uosam.stages.redraw import Rule
from uosam.stages.verdict import redraw_by_judge, redraw_by_rule
from uosam.structures import (
    IGNORE,
    Backend,
    Decision,
    Embedding,
    Floats,
    Image,
    LabelMap,
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
        gate: whether an object may keep its coarse shape; without it every redraw is taken.
        judge: whether several answers are made for each object and the judge that was fitted for
            the segmenter chooses among them and the coarse shape, where it has one; cascade,
            choose, min_agreement and min_score are for segmenters without.
        choose: which of a row's masks wins: the one of highest "score", of highest "agreement"
            (IoU with the coarse object), or of highest "product" of both.
        min_agreement: least IoU of redraw and coarse object, in [0, 1].
        min_score: least estimate of the redraw's IoU, in [0, 1].
        min_region: smallest part and smallest hole of a redraw, as a share of it, in [0, 1]; what
            is smaller is removed or filled.
        levels: levels of granularity that the first decode asks for, 1 whole to 6 smallest part,
            rising; () lets the segmenter choose. Levels above 3, parts, are taken only for objects
            smaller than half of the mask of level 3, where that was asked for, too.
        min_consent: least mean IoU of the masks of levels 1 to 3 with one another, in [0, 1];
            below, the click was ambiguous and the object keeps its coarse shape. 0 asks for none.
        merge: "logits" gives a contested pixel to the surer object, unless one lies nearly all
            inside the other, which it then lies on top of; "paint" lets smaller objects overwrite
            larger ones everywhere (the paper).
    """

    enabled: bool = True
    rounds: int = 1
    cascade: int = 2
    choose: Rule = "score"
    gate: bool = True
    judge: bool = True
    min_agreement: float = 0.1
    min_score: float = 0.5
    min_region: float = 0.01
    levels: tuple[int, ...] = ()
    min_consent: float = 0.0
    merge: Literal["logits", "paint"] = "logits"

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share lies outside [0, 1], a count or ratio is too small, ``levels`` are
                none, or too few to agree.
        """
        check_levels(self.levels, "local_region.levels")
        if self.min_consent and sum(level <= OBJECTS for level in self.levels) < 2:
            raise ConfigError(
                f"local_region.min_consent needs two of the levels 1 to {OBJECTS} to compare, got "
                f"{list(self.levels)}; set local_region.levels=[1,2,3], or --level 1,2,3"
            )
        for name in ("min_agreement", "min_score", "min_region", "min_consent"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"local_region.{name} must be in [0, 1], got {getattr(self, name)}"
                )
        for name, least in (("rounds", 1), ("cascade", 1)):
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
        confidence: (H, W) in [0, 1]; 0.5 where no prompt asked, 0 on IGNORE. Where levels of
            granularity were asked for, that of an object is multiplied by how far they agree.
    """

    labels: LabelMap
    decisions: tuple[Decision, ...]
    confidence: Floats


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
    judge = judge_of(backend) if options.judge and options.gate and not options.levels else None
    if judge is None:
        redraws, decisions = redraw_by_rule(
            coarse, ask_levels(prompts, options.levels), embedding, backend, options
        )
    else:
        redraws, decisions = redraw_by_judge(
            coarse,
            image,
            prompts,
            embedding,
            backend,
            judge,
            min_region=options.min_region,
            background=background,
        )
    reasons = {decision.label: decision.accepted for decision in decisions}
    answered = redraws.labels.tolist()
    accepted = np.array([reasons[label] for label in answered], bool)
    merged = merge(coarse, redraws, accepted, embedding, background, options.merge)
    if options.merge == "logits":
        taken = [label for label, yes in zip(answered, accepted, strict=True) if yes]
        merged = without_strays(merged, coarse, taken)
    highest = np.zeros(coarse.shape, np.float32)
    for index, label in enumerate(answered):
        sure = 1 / (1 + np.exp(-np.clip(from_logits(redraws.logits[index], embedding), -30, 30)))
        agreed = 1.0 if redraws.consents is None else float(redraws.consents[index])
        confidence[merged == label] = agreed * sure[merged == label]
        np.maximum(highest, sure, out=highest)
    if answered and background is not None:
        confidence[merged == background] = 1 - highest[merged == background]
    return LocalResult(labels=merged, decisions=decisions, confidence=confidence)
