"""The order of the stages, and nothing else: picture and coarse map in, refined map out."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter

from uosam.global_region import GlobalRegionOptions, refine_global
from uosam.labels import check_label_map
from uosam.local_region import LocalRegionOptions, refine_local
from uosam.prompts import PromptOptions, make_prompts
from uosam.structures import Backend, Floats, Image, LabelMap, Refinement


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """The options of the three stages.

    Attributes:
        prompts: which prompts an object gets.
        local_region: how objects are redrawn and which redraws are kept.
        global_region: how whole-picture proposals vote.
    """

    prompts: PromptOptions = field(default_factory=PromptOptions)
    local_region: LocalRegionOptions = field(default_factory=LocalRegionOptions)
    global_region: GlobalRegionOptions = field(default_factory=GlobalRegionOptions)


DEFAULTS = RefineOptions()


def refine(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    options: RefineOptions = DEFAULTS,
    *,
    background: int | None = 0,
    scores: Floats | None = None,
) -> Refinement:
    """Sharpen one coarse label map.

    Args:
        image: (H, W, 3) RGB.
        coarse: (H, W) labels, IGNORE where unknown; those pixels come back as IGNORE.
        backend: any segmenter with ``embed`` and ``decode``.
        options: of the three stages.
        background: id that is no object, or None where every id is a class (STEGO-style maps).
        scores: (C, h, w) class probabilities behind ``coarse``, channel = id; any resolution.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    times = [perf_counter()]
    embedding = backend.embed(image)
    times.append(perf_counter())
    prompts = make_prompts(coarse, embedding, options.prompts, background=background, scores=scores)
    times.append(perf_counter())
    local = refine_local(
        coarse, image, prompts, embedding, backend, options.local_region, background=background
    )
    times.append(perf_counter())
    labels = refine_global(
        local.labels, embedding, backend, options.global_region, background=background
    )
    times.append(perf_counter())
    stages = ("embed", "prompts", "local_region", "global_region")
    return Refinement(
        labels=labels,
        local=local.labels,
        confidence=local.confidence,
        prompts=prompts,
        decisions=local.decisions,
        seconds={name: times[i + 1] - times[i] for i, name in enumerate(stages)},
    )
