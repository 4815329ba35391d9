"""The order of the stages, and nothing else: picture and coarse map in, refined map out."""

from __future__ import annotations

from dataclasses import dataclass, field

from uosam.structures import Backend, Floats, Image, LabelMap, Refinement


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """The options of the three stages.

    Attributes: filled in with the stages.
    """

    name: str = field(default="placeholder")


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
        scores: (C, h, w) soft class scores behind ``coarse``, channel = id; any resolution.
    """
    raise NotImplementedError
