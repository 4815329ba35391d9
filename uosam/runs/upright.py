"""Pictures with an EXIF orientation: what is done about it, and results in the stored frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from uosam.errors import InputError
from uosam.io.exif import turn
from uosam.io.images import Picture, PictureOptions, read_picture
from uosam.structures import Floats, LabelMap, Refinement

_AS_STORED = (
    "picture has an EXIF orientation, and picture and mask were taken as they are stored; if the "
    "mask was drawn on the picture as programs show it, say -s io.exif=apply-to-picture"
)

Refine = Callable[..., Refinement]
"""``pipeline.refine`` but for picture, map and scores."""


def read_for_mask(path: Path, options: PictureOptions) -> Picture:
    """Read a picture in the frame of its mask.

    Returns:
        The picture; its orientation is other than 1 if both are to be turned upright.

    Raises:
        InputError: as of ``read_picture``, or the picture has an orientation and none may be.
    """
    picture = read_picture(path, max_pixels=options.max_pixels)
    if picture.orientation == 1 or options.exif == "apply-to-both":
        return picture
    if options.exif == "refuse":
        raise InputError(
            f"{path}: has the EXIF orientation {picture.orientation}, and io.exif=refuse; store it "
            "upright, or say with io.exif which of picture and mask is to be turned"
        )
    if options.exif == "apply-to-picture":
        return replace(picture, image=turn(picture.image, picture.orientation), orientation=1)
    return replace(picture, orientation=1, notes=(*picture.notes, _AS_STORED))


def refine_upright(
    refine: Refine, picture: Picture, labels: LabelMap, scores: Floats | None
) -> Refinement:
    """Refine a map, turned upright with its picture and back if the picture lies on its side.

    Args:
        refine: what is done in the upright frame.
        picture: as ``read_for_mask`` gives it.
        labels: (H, W) ids.
        scores: (C, H, W) behind them.
    """
    side = picture.orientation
    if side == 1:
        return refine(picture.image, labels, scores=scores)
    if scores is not None:
        scores = turn(scores.transpose(1, 2, 0), side).transpose(2, 0, 1)
    found = refine(turn(picture.image, side), turn(labels, side), scores=scores)
    return replace(
        found,
        labels=turn(found.labels, side, back=True),
        ids=turn(found.ids, side, back=True),
        coarse=labels,
        image=picture.image,
        local=turn(found.local, side, back=True),
        confidence=turn(found.confidence, side, back=True),
    )
