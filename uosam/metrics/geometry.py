"""What part of an image a protocol scores, and at which size."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import PIL.Image

from uosam.errors import InputError
from uosam.structures import LabelMap

Geometry = Literal["native", "centre-320", "squash-320", "to-target"]
"""native: as stored, sizes must agree. centre-320: short side to 320, then the central square
(STEGO, PiCIE, CAUSE on COCO-Stuff and Cityscapes). squash-320: to 320 x 320 without keeping the
aspect (CAUSE on VOC). to-target: the prediction to the size of the truth (MaskContrast)."""

SIDE = 320


def to_protocol(pred: LabelMap, target: LabelMap, geometry: Geometry) -> tuple[LabelMap, LabelMap]:
    """Bring a prediction and its ground truth to the size at which a protocol compares them.

    Labels are sampled at pixel centres, as Pillow's NEAREST does; "to-target" samples as OpenCV's
    INTER_NEAREST does, which takes other pixels. A prediction that already is 320 x 320 stays so.

    Args:
        pred: (H, W) or, for the 320 kinds, (320, 320).
        target: (H, W).
        geometry: of the protocol.

    Raises:
        InputError: sizes that the protocol cannot bring together.

    >>> pred, target = to_protocol(np.zeros((480, 640), np.int32), np.zeros((480, 640), np.int32),
    ...                            "centre-320")
    >>> pred.shape, target.shape
    ((320, 320), (320, 320))
    """
    if geometry == "to-target":
        height, width = target.shape
        resized = cv2.resize(pred, (width, height), interpolation=cv2.INTER_NEAREST)
        return np.asarray(resized, np.int32), target
    fits = pred.shape == target.shape
    if geometry == "native":
        if not fits:
            raise InputError(
                f"the prediction must have the size of its ground truth {_size(target)}, got "
                f"{_size(pred)}; resize it with nearest neighbour first"
            )
        return pred, target
    if not fits and pred.shape != (SIDE, SIDE):
        raise InputError(
            f"the prediction must have the size of its ground truth {_size(target)} or be "
            f"{SIDE} x {SIDE}, got {_size(pred)}"
        )
    bring = _centre if geometry == "centre-320" else _squash
    return (bring(pred) if pred.shape != (SIDE, SIDE) else pred), bring(target)


def _size(labels: LabelMap) -> str:
    return f"{labels.shape[0]} x {labels.shape[1]} (H x W)"


def _nearest(labels: LabelMap, height: int, width: int) -> LabelMap:
    picture = PIL.Image.fromarray(labels).resize((width, height), PIL.Image.Resampling.NEAREST)
    return np.asarray(picture, np.int32)


def _squash(labels: LabelMap) -> LabelMap:
    return _nearest(labels, SIDE, SIDE)


def _centre(labels: LabelMap) -> LabelMap:
    # Like torchvision: the long side is cut to whole pixels, the margin rounded half to even.
    height, width = labels.shape
    if height <= width:
        height, width = SIDE, int(SIDE * width / height)
    else:
        height, width = int(SIDE * height / width), SIDE
    top, left = round((height - SIDE) / 2), round((width - SIDE) / 2)
    return _nearest(labels, height, width)[top : top + SIDE, left : left + SIDE]
