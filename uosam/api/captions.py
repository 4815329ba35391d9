"""Caption regions from Python: a picture and a mask in, a phrase for each region out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from uosam.api.masks import to_labels
from uosam.api.pictures import to_image
from uosam.backends.text.captioners import CaptionerOptions, load_captioner
from uosam.config import update_options
from uosam.errors import InputError
from uosam.io.codecs import Choice
from uosam.regions.captions import Spoken, masks_of, split_regions

if TYPE_CHECKING:
    from uosam.api.pictures import ImageLike, MaskLike


def caption(
    image: ImageLike,
    mask: MaskLike,
    *,
    captioner: str = "crop",
    checkpoint: str | os.PathLike[str] | None = None,
    device: str = "auto",
    background: Choice = "default",
    min_area: float = 0.001,
    whole_classes: bool = False,
    **options: Any,
) -> list[Spoken]:
    """Put every region of a mask into words.

    Args:
        image: as ``uosam.refine`` takes it.
        mask: of the same size.
        captioner: "sca", "crop" (any image-to-text folder of transformers) or ``module:function``.
        checkpoint: local folder of the model.
        device: "auto" or a torch device.
        background: id that gets no phrase, None where every id is a class; 0 by default.
        min_area: smallest region, as a share of the picture.
        whole_classes: one region for each id, not one for each of its parts.
        options: further settings of the captioner: ``beams``, ``context``, ``question``, ...

    Returns:
        One entry a region, by id and falling size.

    Raises:
        ConfigError: a setting is unknown or out of range.
        InputError: picture and mask do not fit, or there is no region.
        BackendError: the model cannot be loaded.

    >>> import numpy as np
    >>> from uosam.structures import Caption
    >>> class Sizes:
    ...     def caption(self, image, masks):
    ...         return [Caption(text=f"{mask.sum()} pixels") for mask in masks]
    >>> import sys; sys.modules["sizes"] = type(sys)("sizes"); sys.modules["sizes"].load = (
    ...     lambda options: Sizes())
    >>> mask = np.zeros((20, 30), np.uint8)
    >>> mask[2:6, 3:8], mask[10:19, 10:20] = 1, 2
    >>> found = caption(np.zeros((20, 30, 3), np.uint8), mask, captioner="sizes:load")
    >>> [(one.label, one.caption.text) for one in found]
    [(1, '20 pixels'), (2, '90 pixels')]
    """
    picture = to_image(image)
    file = to_labels(mask, background=background)
    if file.labels.shape != picture.shape[:2]:
        raise InputError(
            f"mask must have the size of its picture {picture.shape[:2]}, got {file.labels.shape}"
        )
    regions, skipped = split_regions(
        file.labels,
        "mask",
        whole_classes=whole_classes,
        min_area=min_area,
        background=file.spec.background,
    )
    if not regions:
        raise InputError(
            f"mask: no region of {min_area:.2%} of the picture to caption ({len(skipped)} smaller "
            "ones); lower min_area, or give background=None if id 0 is a class"
        )
    folder = None if checkpoint is None else os.fspath(checkpoint)
    given = {"name": captioner, "checkpoint": folder, "device": device, **options}
    model = load_captioner(update_options("captioner", CaptionerOptions(), given))
    masks = masks_of(regions, file.labels.shape)
    return [
        Spoken(
            mask=one,
            caption=said,
            prompt="box" if captioner == "sca" else "crop",
            label=region.label,
            component=region.component,
        )
        for one, said, region in zip(masks, model.caption(picture, masks), regions, strict=True)
    ]
