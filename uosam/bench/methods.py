"""The methods of a benchmark that have a name of their own."""

from __future__ import annotations

from uosam.labels import check_label_map
from uosam.pipeline import RefineOptions, refine
from uosam.structures import Backend, Image, LabelMap


def keep_coarse(image: Image, coarse: LabelMap, *, background: int | None = 0) -> LabelMap:
    """Return the coarse map: the row that every other is compared with.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    del background
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    return coarse.copy()


def refine_uosam(
    image: Image,
    coarse: LabelMap,
    backend: Backend,
    *,
    options: RefineOptions,
    background: int | None = 0,
) -> LabelMap:
    """Return the labels of ``pipeline.refine``; arguments as there."""
    return refine(image, coarse, backend, options, background=background).labels
