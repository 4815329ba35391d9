"""No refinement: the coarse map as it is, the row that every other method is compared with."""

from __future__ import annotations

from uosam.labels import check_label_map
from uosam.structures import Image, LabelMap


def refine_identity(image: Image, coarse: LabelMap, *, background: int | None = 0) -> LabelMap:
    """Return a copy of the coarse map; no paper, since there is no method.

    Args:
        image: (H, W, 3) RGB; only its size is looked at.
        coarse: (H, W) labels.
        background: taken as every method takes it; changes nothing.

    Raises:
        InputError: ``coarse`` is not int32 (H, W) or differs in size from ``image``.
    """
    del background
    check_label_map(coarse, (image.shape[0], image.shape[1]))
    return coarse.copy()
