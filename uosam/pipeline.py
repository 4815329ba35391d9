"""The order of the stages, and nothing else: picture and coarse map in, refined map out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from uosam.labels import areas, check_label_map, check_probabilities
from uosam.stages.global_region import GlobalRegionOptions, refine_global
from uosam.stages.guide import check_guide
from uosam.stages.local_region import LocalRegionOptions, refine_local
from uosam.stages.prompts import PromptOptions, make_prompts
from uosam.stages.size.windows import WindowOptions, refine_windows
from uosam.stages.size.working_size import WorkingSizeOptions, at_working_size
from uosam.structures import (
    IGNORE,
    Backend,
    Decision,
    Floats,
    Guide,
    Image,
    LabelMap,
    LabelSpec,
    Prompts,
    Refinement,
)


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """The options of the stages.

    Attributes:
        working_size: the size at which large pictures are refined.
        prompts: which prompts an object gets.
        local_region: how objects are redrawn and which redraws are kept.
        global_region: how whole-picture proposals vote.
        windows: which small objects are redrawn once more, each in a window of the picture.
    """

    working_size: WorkingSizeOptions = field(default_factory=WorkingSizeOptions)
    prompts: PromptOptions = field(default_factory=PromptOptions)
    local_region: LocalRegionOptions = field(default_factory=LocalRegionOptions)
    global_region: GlobalRegionOptions = field(default_factory=GlobalRegionOptions)
    windows: WindowOptions = field(default_factory=WindowOptions)


DEFAULTS = RefineOptions()


def refine(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    options: RefineOptions = DEFAULTS,
    *,
    background: int | None = 0,
    scores: Floats | None = None,
    guide: Guide | Image | None = None,
) -> Refinement:
    """Sharpen one coarse label map.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels, IGNORE where unknown; those pixels come back as IGNORE.
        backend: any segmenter with ``embed`` and ``decode``.
        options: of the stages.
        background: id that is no object, or None where every id is a class (STEGO-style maps).
        scores: (C, h, w) class probabilities behind ``coarse``, channel = id; any resolution.
        guide: a second picture of the view, (H, W, 3) RGB such as rendered depth, in which the
            global stage looks for proposals (``global_region.picture``).

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or holds ids below IGNORE, the scores are no
            probabilities of its ids, or it or the guide differs in size from
            ``image``.
        ConfigError: there is a guide and the global stage is left out, or asked for and missing.
    """
    image_hw = image.shape[0], image.shape[1]
    check_label_map(coarse, image_hw)
    if scores is not None:
        check_probabilities(scores, coarse)
    guide = Guide(image=guide) if isinstance(guide, np.ndarray) else guide
    check_guide(guide, image_hw, options.global_region)
    seconds: dict[str, float] = {}
    at_work = at_working_size(image, coarse, guide, options.working_size)
    with _timed(seconds, "embed"):
        embedding = backend.embed(at_work.image)
    verdicts: list[Decision] = []
    current = at_work.coarse
    for number in range(options.local_region.rounds):
        with _timed(seconds, "prompts"):
            prompts = make_prompts(
                current, embedding, options.prompts, background=background, scores=scores
            )
        with _timed(seconds, "local_region"):
            local = refine_local(
                current,
                at_work.image,
                prompts,
                embedding,
                backend,
                options.local_region,
                background=background,
            )
        if number == 0:
            asked_first = prompts
            if options.local_region.enabled:
                verdicts += _too_small(coarse, prompts, background)
        verdicts += (replace(verdict, round=number + 1) for verdict in local.decisions)
        if np.array_equal(local.labels, current):
            break
        current, scores = local.labels, None  # the scores are of the first map
    with _timed(seconds, "global_region"):
        voted = refine_global(
            current,
            embedding,
            backend,
            options.global_region,
            background=background,
            guide=at_work.guide,
        )
    restored = labels = at_work.restore_labels(voted)
    if options.windows.most:
        with _timed(seconds, "windows"):
            labels = refine_windows(
                image,
                restored,
                {verdict.label for verdict in verdicts if verdict.accepted},
                backend,
                options.windows,
                options.prompts,
                min_region=options.local_region.min_region,
                background=background,
            )
    return Refinement(
        labels=labels,
        ids=labels,
        coarse=coarse,
        image=image,
        local=restored if voted is current else at_work.restore_labels(current),
        confidence=at_work.restore_field(local.confidence),
        prompts=at_work.restore_prompts(asked_first),
        verdicts=at_work.restore_decisions(verdicts),
        seconds=seconds,
        spec=LabelSpec(codec="npy", background=background, ignore=IGNORE, dtype="int32"),
    )


def _too_small(coarse: LabelMap, prompts: Prompts, background: int | None) -> list[Decision]:
    """Tell of the objects that no prompt asks for, so that they are not passed over in silence."""
    asked = {*prompts.labels.tolist(), background}
    return [
        Decision(
            label=label, accepted=False, reason="too small", score=0.0, agreement=0.0, area=area
        )
        for label, area in areas(coarse).items()
        if label not in asked
    ]


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + perf_counter() - start
