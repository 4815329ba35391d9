"""The training folder: ``SOURCE/NAME.jpg`` with region maps ``SOURCE/NAME.0.png``, ``NAME.1.png``.

Maps of one picture differ in granularity: classes, their components, or different annotators.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.io.images import read_image
from uosam.structures import IGNORE, Image, LabelMap
from uosam.training.options import TrainOptions


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One training picture.

    Attributes:
        image: its file.
        maps: files of its region maps, at least one.
        ignored: stored ids nobody vouches for.
        background: id that is seldom asked for, or None where every id is a region like any other.
    """

    image: Path
    maps: tuple[Path, ...]
    ignored: tuple[int, ...]
    background: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Decoded:
    """A picture in memory: (H, W, 3) RGB and its region maps as they are stored."""

    image: Image
    maps: tuple[NDArray[np.generic], ...]


def find_training_pictures(
    root: Path, options: TrainOptions
) -> tuple[list[Picture], NDArray[np.float64]]:
    """List the pictures below a folder and how likely each is to be drawn.

    Returns:
        pictures in order of path, and (P,) probabilities.

    Raises:
        InputError: no folder, no picture with a region map, or a weight for a source not there.
    """
    if not root.is_dir():
        raise InputError(f"training data must be a folder of sources, found nothing at {root}")
    pictures, weights, sources = [], [], set()
    for image in sorted(root.glob("*/*.jpg")):
        pattern = re.compile(re.escape(image.stem) + r"\.\d+\.png")
        maps = tuple(
            sorted(p for p in image.parent.glob(f"{image.stem}.*.png") if pattern.match(p.name))
        )
        source = image.parent.name
        sources.add(source)
        if maps:
            picture = Picture(
                image=image,
                maps=maps,
                ignored=tuple(options.ignored.get(source, ())),
                background=None if source in options.all_regions else 0,
            )
            pictures.append(picture)
            weights.append(options.weights.get(source, 1.0))
    if not pictures or not sum(weights):
        raise InputError(
            f"{root} must hold SOURCE/NAME.jpg with SOURCE/NAME.0.png of weight above 0, found none"
        )
    return pictures, np.array(weights) / sum(weights)


def decode_picture(picture: Picture) -> Decoded:
    """Read a picture and all of its region maps.

    Raises:
        InputError: a file is damaged, or a map has another size than its picture.
    """
    image = read_image(picture.image)
    return Decoded(
        image=image, maps=tuple(_read_map(path, image.shape[:2]) for path in picture.maps)
    )


def decode_all(pictures: Sequence[Picture], threads: int) -> list[Decoded]:
    """Read all pictures into memory, some at a time.

    Raises:
        InputError: as ``decode_picture``.
    """
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(decode_picture, pictures))


def draw_maps(
    picture: Picture, decoded: Decoded, generator: np.random.Generator
) -> tuple[LabelMap, LabelMap]:
    """Return two of a picture's region maps, drawn at random; both may be the same."""
    chosen = generator.integers(0, len(decoded.maps), 2)
    first, second = (_labels(decoded.maps[index], picture.ignored) for index in chosen)
    return first, second


def _read_map(path: Path, hw: tuple[int, ...]) -> NDArray[np.generic]:
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.shape != hw:
        found = "a damaged file" if stored is None else f"{stored.shape}"
        raise InputError(f"{path} must be a region map of {hw[0]} x {hw[1]} ids, got {found}")
    return np.asarray(stored)


def _labels(stored: NDArray[np.generic], ignored: tuple[int, ...]) -> LabelMap:
    labels = stored.astype(np.int32)
    for label in ignored:
        labels[stored == label] = IGNORE
    return labels
