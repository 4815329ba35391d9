"""The chance that the label of a refined pixel is right, from its confidence and its place.

The confidence of a refined map is the segmenter's own: how sure it is that a pixel belongs to the
mask it drew, not that the mask has the right class or shape. Isotonic curves, fitted on training
pictures by ``benchmarks/calibrate.py``, turn it into the share of such pixels that were right; a
curve for objects and background at each distance to an outline, where most mistakes are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.structures import IGNORE, Floats, LabelMap, Mask

KINDS = ("object", "background")
BANDS = (0.0025, 0.005, 0.01, 0.02, 0.04)
"""Ends of the bands by distance to an outline, as parts of the picture's diagonal; what lies
further off is one more band."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Curve:
    """A rising curve through points of raw and calibrated confidence, both in [0, 1]."""

    raw: Floats
    right: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """A curve for each kind of pixel and band, in that order, and what they were fitted on."""

    curves: Sequence[Sequence[Curve]]
    facts: str


@cache
def packaged() -> Calibration:
    """Return the curves of the default model."""
    return read_calibration(Path(__file__).with_name("calibration.json").read_text("utf-8"))


def calibrate(
    confidence: Floats, ids: LabelMap, background: int | None, calibration: Calibration
) -> Floats:
    """Return the chance that each label is right.

    Args:
        confidence: (H, W) in [0, 1], as ``Refinement.confidence``.
        ids: (H, W) the refined labels.
        background: id that is no object, or None.
        calibration: the curves.

    Returns:
        (H, W) in [0, 1]; 0 on IGNORE.
    """
    bands, kinds = bands_of(ids), kinds_of(ids, background)
    found = np.zeros(ids.shape, np.float32)
    for kind, curves in enumerate(calibration.curves):
        for band, curve in enumerate(curves):
            here = (kinds == kind) & (bands == band)
            found[here] = np.interp(confidence[here], curve.raw, curve.right)
    found[ids == IGNORE] = 0
    return found


def kinds_of(ids: LabelMap, background: int | None) -> NDArray[np.uint8]:
    """Return the place in ``KINDS`` of every pixel."""
    rest = np.zeros(ids.shape, bool) if background is None else ids == background
    return rest.astype(np.uint8)


def bands_of(ids: LabelMap) -> NDArray[np.uint8]:
    """Return the band of every pixel: how far it lies from an outline, for the picture's size.

    >>> bands_of(np.repeat([[1, 2]], 200, axis=1).astype(np.int32))[0, [0, 150, 199]].tolist()
    [5, 5, 0]
    """
    distance = distance_to_outline(ids) / np.hypot(*ids.shape)
    found = np.searchsorted(np.array(BANDS), distance, side="left")
    return np.asarray(found, np.uint8)


def distance_to_outline(ids: LabelMap) -> Floats:
    """Return how far each pixel lies from one that borders another label; 0 on it.

    A map of one label has none: infinity.
    """
    edge = outline_of(ids)
    if not edge.any():
        return np.full(ids.shape, np.inf, np.float32)
    found = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(found, np.float32)


def outline_of(ids: LabelMap) -> Mask:
    """(H, W) pixels with a neighbour of another label beside, above or below."""
    edge = np.zeros(ids.shape, bool)
    across, down = ids[:, 1:] != ids[:, :-1], ids[1:] != ids[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def write_calibration(calibration: Calibration) -> str:
    """Return the JSON of curves, four places."""
    document = {
        "fitted on": calibration.facts,
        "bands": list(BANDS),
        "curves": {
            kind: [[_short(curve.raw), _short(curve.right)] for curve in curves]
            for kind, curves in zip(KINDS, calibration.curves, strict=True)
        },
    }
    text = json.dumps(document)
    return text.replace("[[[", "[\n[[").replace("]], ", "]],\n") + "\n"


def _short(values: Floats) -> list[float]:
    found: list[float] = values.astype(np.float64).round(4).tolist()
    return found


def read_calibration(text: str) -> Calibration:
    """Read what ``write_calibration`` wrote."""
    document = json.loads(text)
    curves = [
        [
            Curve(raw=np.array(raw, np.float32), right=np.array(right, np.float32))
            for raw, right in document["curves"][kind]
        ]
        for kind in KINDS
    ]
    return Calibration(curves=curves, facts=document["fitted on"])
