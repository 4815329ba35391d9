"""What a student is taught: pictures with their masks at stride 4, and how sure each cell is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.backends.imagenet.network import fit_long_side
from uosam.errors import InputError
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import check_same_size, read_image
from uosam.io.pairs import Pairs
from uosam.structures import IGNORE, Image, LabelMap, LabelSpec, Sample

CELL = 4
"""Pixels of the resized picture to a cell of the masks that are taught."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Lesson:
    """One picture.

    Attributes:
        name: of the sample.
        image: (H, W, 3) uint8, resized; sides are multiples of 32.
        labels: (H / 4, W / 4) int32 ids, IGNORE where nothing is taught.
        weights: (H / 4, W / 4) float32 confidence in [0, 1].
    """

    name: str
    image: Image
    labels: LabelMap
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False, kw_only=True)
class Lessons:
    """All pictures of a folder.

    Attributes:
        lessons: in order of name.
        classes: one more than the highest id.
        ids: how many there are.
        spec: how the first mask is stored.
    """

    lessons: tuple[Lesson, ...]
    classes: int
    ids: int
    spec: LabelSpec


def read_lessons(
    pairs: Pairs, labels: LabelOptions, *, side: int, band: int, confidence: Path | None
) -> Lessons:
    """Read every pair.

    Args:
        pairs: as ``find_pairs`` gives them.
        labels: how the masks are read.
        side: long side of the resized pictures.
        band: cells on both sides of a boundary that are not taught.
        confidence: folder of 8-bit maps of the same names (``uosam refine --confidence``), or None.

    Raises:
        InputError: there are no pairs, a file is unusable, or the masks hold fewer than two ids.
    """
    if not pairs.samples:
        raise InputError("a student needs pictures with masks, found no pair; check the folders")
    found, spec, highest = [], None, -1
    seen: set[int] = set()
    for sample in pairs.samples:
        assert sample.image is not None  # find_pairs gives both
        assert sample.coarse is not None
        image, file = read_image(sample.image), read_with(sample.coarse, labels)
        check_same_size(sample.image, image.shape[:2], sample.coarse, file.labels.shape)
        spec = spec or file.spec
        sure = np.ones(file.labels.shape, np.float32)
        if confidence is not None:
            sure = _read_confidence(confidence, sample, file.labels.shape)
        lesson = make_lesson(sample.name, image, file.labels, sure, side=side, band=band)
        seen |= set(np.unique(file.labels).tolist()) - {IGNORE}
        highest = max(seen, default=-1)
        found.append(lesson)
    if len(seen) < 2:
        raise InputError(
            f"a student needs masks of two ids or more, got {sorted(seen)} in all "
            f"{len(found)} masks"
        )
    assert spec is not None
    return Lessons(lessons=tuple(found), classes=highest + 1, ids=len(seen), spec=spec)


def make_lesson(
    name: str,
    image: Image,
    labels: LabelMap,
    sure: NDArray[np.float32],
    *,
    side: int,
    band: int,
) -> Lesson:
    """Bring a picture to its size and its mask to cells of stride 4, without the ignore band.

    Args:
        name: of the sample.
        image: (H, W, 3) RGB.
        labels: (H, W) ids and IGNORE.
        sure: (H, W) confidence in [0, 1].
        side: long side of the resized picture.
        band: cells on both sides of a boundary that become IGNORE; an id that would vanish from
            the picture keeps its cells.
    """
    small = fit_long_side(image, side)
    size = (small.shape[1] // CELL, small.shape[0] // CELL)
    cells = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT)
    weights = cv2.resize(sure.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return Lesson(
        name=name,
        image=small,
        labels=leave_band(cells.astype(np.int32), band),
        weights=np.clip(weights, 0, 1),
    )


def leave_band(labels: LabelMap, band: int) -> LabelMap:
    """Set cells within ``band`` of another id to IGNORE, unless an id would lose all its cells.

    >>> leave_band(np.array([[1, 1, 1, 2, 2, 2]], np.int32), 1).tolist()
    [[1, 1, -1, -1, 2, 2]]
    """
    if band == 0:
        return labels
    kernel = np.ones((2 * band + 1, 2 * band + 1), np.uint8)
    values = labels.astype(np.float32)
    near = cv2.dilate(values, kernel) != cv2.erode(values, kernel)
    core = np.where(near, IGNORE, labels).astype(np.int32)
    lost = np.setdiff1d(labels, core)
    return np.where(np.isin(labels, lost), labels, core).astype(np.int32)


def hold_back(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split pictures into those that are taught and those that are asked.

    Of fewer than ten none is held back: then all are taught and all are asked. One of so few may
    be the only one of its kind, and the student's answer there would tell nothing.

    >>> taught, asked = hold_back(20, 0.1, 0)
    >>> len(taught), len(asked), sorted(taught + asked) == list(range(20))
    (18, 2, True)
    """
    if count < 10 or share == 0:
        return list(range(count)), list(range(count))
    order = np.random.default_rng([seed, 77]).permutation(count).tolist()
    asked = max(1, round(count * share))
    return sorted(order[asked:]), sorted(order[:asked])


def class_shares(lessons: Sequence[Lesson], classes: int) -> NDArray[np.float64]:
    """Return (K,) the share of the taught cells that each id has."""
    counts = np.zeros(classes, np.float64)
    for lesson in lessons:
        kept = lesson.labels[lesson.labels >= 0]
        counts += np.bincount(kept, minlength=classes)
    return np.asarray(counts / max(1.0, counts.sum()))


def _read_confidence(folder: Path, sample: Sample, hw: tuple[int, ...]) -> NDArray[np.float32]:
    path = folder / f"{sample.name}.png"
    stored = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
    if stored is None or stored.shape != hw:
        got = "none" if stored is None else f"{stored.shape}"
        raise InputError(
            f"{path}: expected an 8-bit confidence map of the size {tuple(hw)}, got {got}; write "
            "them with uosam refine --confidence, or leave out --confidence"
        )
    return np.asarray(stored / 255, np.float32)
