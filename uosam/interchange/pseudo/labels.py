"""Which refined pixels are good enough to train on, and how much a picture counts.

Thresholds by class follow class-balanced self-training (Zou et al., "Unsupervised Domain Adaptation
for Semantic Segmentation via Class-Balanced Self-Training", ECCV 2018): where one threshold would
leave hardly anything of a class, the class keeps the surest share of its pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError
from uosam.interchange.pseudo.calibration import distance_to_outline
from uosam.structures import IGNORE, Floats, LabelMap

_BINS = 1000


@dataclass(frozen=True, kw_only=True)
class PseudoOptions:
    """What is left out of pseudo-labels.

    Attributes:
        min_confidence: least chance that a label is right, in [0, 1]; 0 keeps all.
        keep: share of its pixels that every class keeps, the surest ones, whatever the threshold.
        width: pixels on either side of an outline that are left out; of an object no more than
            half way to its middle.
        calibrated: whether the confidence is the chance that a label is right, or the segmenter's
            own.
        ignored: whether pixels left out are "mark"ed as ignored, or "keep" their label where a
            trainer cannot ignore; confidence and weights tell in both cases.
    """

    min_confidence: float = 0.8
    keep: float = 0.3
    width: float = 2.0
    calibrated: bool = True
    ignored: str = "mark"

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a share lies outside of [0, 1], the width below 0, or an unknown word.
        """
        for name in ("min_confidence", "keep"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.width < 1000:
            raise ConfigError(f"width must be pixels from 0 to 1000, got {self.width:g}")
        if self.ignored not in ("mark", "keep"):
            raise ConfigError(f"ignored must be mark or keep, got {self.ignored!r}")


@dataclass(eq=False, kw_only=True)
class Tally:
    """How sure the pixels of each class are, summed over pictures; background counts as a class.

    Attributes:
        counts: (_BINS + 1,) pixels by confidence, for each id.
    """

    counts: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    def add(self, ids: LabelMap, confidence: Floats) -> None:
        """Add one picture: (H, W) ids and confidence in [0, 1]."""
        cells = (np.clip(confidence, 0, 1) * _BINS).round().astype(np.int64)
        for label in np.unique(ids[ids != IGNORE]).tolist():
            found = np.bincount(cells[ids == label], minlength=_BINS + 1)
            self.counts[label] = self.counts.get(label, np.zeros(_BINS + 1, np.int64)) + found

    def thresholds(self, options: PseudoOptions) -> dict[int, float]:
        """Return the least confidence of each id: the common one, or less for a rare class.

        >>> tally = Tally()
        >>> sure = np.array([[0.9, 0.9, 0.9, 0.2, 0.4, 0.6]], np.float32)
        >>> tally.add(np.array([[1, 1, 1, 2, 2, 2]], np.int32), sure)
        >>> tally.thresholds(PseudoOptions(min_confidence=0.8, keep=0.5))
        {1: 0.8, 2: 0.4}
        """
        found = {}
        for label, counts in sorted(self.counts.items()):
            above = np.cumsum(counts[::-1])[::-1]  # pixels at least as sure as each cell
            enough = np.flatnonzero(above >= options.keep * above[0])
            found[label] = min(options.min_confidence, float(enough[-1]) / _BINS)
        return found


@dataclass(frozen=True, eq=False, kw_only=True)
class Pseudo:
    """The pseudo-labels of one picture.

    Attributes:
        labels: (H, W) ids, IGNORE where nothing is to be learnt if that is marked.
        confidence: (H, W) in [0, 1].
        weight: mean confidence of the pixels of objects, in [0, 1]; of all pixels in a picture
            without objects, 0 in one without labels.
        kept: share of the labelled pixels that is kept.
    """

    labels: LabelMap
    confidence: Floats
    weight: float
    kept: float


def make_pseudo(
    ids: LabelMap,
    confidence: Floats,
    thresholds: Mapping[int, float],
    options: PseudoOptions,
    background: int | None,
) -> Pseudo:
    """Choose the pixels of one picture.

    Args:
        ids: (H, W) the refined labels.
        confidence: (H, W) in [0, 1].
        thresholds: least confidence by id.
        options: width of the band, and whether what is left out is marked.
        background: id that is no object, or None.
    """
    known = ids != IGNORE
    least = np.zeros(ids.shape, np.float32)
    for label, threshold in thresholds.items():
        least[ids == label] = threshold
    # Half a cell of the tally, so that what the threshold was made from passes it.
    good = known & (confidence >= least - 0.5 / _BINS)
    if options.width > 0:
        good &= ~band(ids, options.width)
    objects = known if background is None else known & (ids != background)
    counted = objects if objects.any() else known
    weight = float(confidence[counted].mean()) if counted.any() else 0.0
    labels = ids.copy()
    if options.ignored == "mark":
        labels[~good] = IGNORE
    kept = int(np.count_nonzero(good)) / max(1, int(np.count_nonzero(known)))
    return Pseudo(labels=labels, confidence=confidence, weight=weight, kept=kept)


def band(ids: LabelMap, width: float) -> NDArray[np.bool_]:
    """(H, W) pixels nearer than ``width`` to an outline, and nearer to it than to their middle.

    >>> band(np.array([[1, 1, 1, 1, 1, 2, 3, 3]], np.int32), 2)[0].astype(int).tolist()
    [0, 0, 0, 1, 1, 0, 1, 0]
    """
    distance = distance_to_outline(ids) + 1  # 1 on a pixel beside the outline
    near = distance <= width
    for label in np.unique(ids[near]).tolist():
        mask = (ids == label).astype(np.uint8)
        count, index = cv2.connectedComponents(mask, connectivity=8)
        deepest = np.zeros(count, np.float32)
        inside = (mask > 0) & np.isfinite(distance)
        np.maximum.at(deepest, index[inside], distance[inside])
        near &= (mask == 0) | (distance <= deepest[index] / 2)
    return near
