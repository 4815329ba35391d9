"""The training folder: ``SOURCE/NAME.jpg`` with region maps ``SOURCE/NAME.0.png``, ``NAME.1.png``.

Maps of one picture differ in granularity: classes, their components, or different annotators.
"""

from __future__ import annotations

import re
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
    """

    image: Path
    maps: tuple[Path, ...]
    ignored: tuple[int, ...]


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
            ignored = options.ignored.get(source, ())
            pictures.append(Picture(image=image, maps=maps, ignored=ignored))
            weights.append(options.weights.get(source, 1.0))
    if not pictures or not sum(weights):
        raise InputError(
            f"{root} must hold SOURCE/NAME.jpg with SOURCE/NAME.0.png of weight above 0, found none"
        )
    return pictures, np.array(weights) / sum(weights)


def read_picture(
    picture: Picture, generator: np.random.Generator
) -> tuple[Image, LabelMap, LabelMap]:
    """Read a picture and two of its region maps, drawn at random; both may be the same.

    Raises:
        InputError: a file is damaged, or a map has another size than its picture.
    """
    image = read_image(picture.image)
    chosen = [picture.maps[index] for index in generator.integers(0, len(picture.maps), 2)]
    first, second = (_read_map(path, picture, image.shape[:2]) for path in chosen)
    return image, first, second


def _read_map(path: Path, picture: Picture, hw: tuple[int, ...]) -> LabelMap:
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.shape != hw:
        found = "a damaged file" if stored is None else f"{stored.shape}"
        raise InputError(f"{path} must be a region map of {hw[0]} x {hw[1]} ids, got {found}")
    labels = stored.astype(np.int32)
    labels[np.isin(labels, picture.ignored)] = IGNORE
    return labels
