"""Depth made from ground truth: what a perfect sensor would see if every region were a plane.

It knows the outlines that a method is scored on, and so gives an upper bound, nothing else.
``python -m benchmarks.synthetic_depth OUT`` writes ``OUT/SET/NAME.png`` in millimetres for the
examples and the first pictures of six development sets, for ``uosam bench -c depth``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from benchmarks.accuracy import TOP, data
from uosam.errors import InputError, UosamError
from uosam.geometry.depth_map import DepthMap
from uosam.io.atomic import write_atomic
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.pairs import find_pairs
from uosam.labels import components
from uosam.structures import IGNORE, LabelMap, Mask

SIX = ("human", "person", "garments", "objects", "street", "facade")
"""Development sets that depth is made for, beside the examples."""
NEAREST, FARTHEST = 1.0, 6.0
"""Metres of a region's middle; regions of a picture are spread evenly and shuffled."""
NOISE = 0.01
"""Deviation of a measurement, as a share of the distance."""


def synthetic_depth(target: LabelMap, seed: int = 0) -> DepthMap:
    """Give every connected region a slanting plane of its own, with noise and holes.

    Holes are what such sensors have: a strip beside the outlines of near things, and blobs. Ignored
    pixels get the plane of the nearest region.

    Args:
        target: (H, W) true labels.
        seed: of planes, noise and holes.
    """
    generator = np.random.default_rng(seed)
    filled = _without_ignore(target)
    parts = [
        part for label in np.unique(filled).tolist() for part in components(filled == label, 16)
    ]
    middles = generator.permutation(np.linspace(NEAREST, FARTHEST, max(len(parts), 2)))
    height, width = target.shape
    v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    z = np.full(target.shape, FARTHEST)
    for part, middle in zip(parts, middles, strict=False):
        slope = generator.uniform(-0.15, 0.15, 2)
        z[part] = (middle * (1 + slope[0] * u + slope[1] * v))[part]
    z *= 1 + NOISE * generator.standard_normal(z.shape)
    z[_holes(z, generator)] = np.nan
    return DepthMap(z=z.astype(np.float32))


def _without_ignore(target: LabelMap) -> LabelMap:
    known = target != IGNORE
    if known.all() or not known.any():
        return target
    _, ids = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros(int(ids.max()) + 1, np.int32)
    table[ids[known]] = target[known]
    return np.where(known, target, table[ids])


def _holes(z: np.ndarray, generator: np.random.Generator) -> Mask:
    """Mark a strip on the far side of steps, and the places where a slow noise is high."""
    reach = max(3, round(min(z.shape) / 80)) | 1
    nearest = cv2.erode(z, np.ones((reach, reach)))
    shadow = (nearest < 0.85 * z) & (generator.random(z.shape) < 0.7)
    slow = cv2.GaussianBlur(generator.standard_normal(z.shape), (0, 0), min(z.shape) / 40)
    return shadow | (slow > np.quantile(slow, 0.98))


def write_sets(out: Path, per_set: int) -> int:
    """Write depth for the examples and the first pictures of six sets; return how many.

    Args:
        out: gets a folder for each set.
        per_set: pictures of each set.

    Raises:
        InputError: a set is not there, or a file cannot be written.
    """
    places = {"examples": (TOP / "examples", "ground_truth")}
    places |= {name: (data("val") / name, "gt") for name in SIX}
    amount = 0
    for name, (folder, truth) in places.items():
        samples = find_pairs(folder / "images", folder / truth).samples[:per_set]
        for sample in samples:
            assert sample.coarse is not None
            target = read_with(sample.coarse, LabelOptions()).labels
            path = out / name / f"{sample.name}.png"
            stored = np.nan_to_num(1000 * synthetic_depth(target, seed=amount).z)
            _, encoded = cv2.imencode(".png", stored.round().astype(np.uint16))
            try:
                write_atomic(path, encoded.tobytes())
            except OSError as error:
                raise InputError(f"{path}: cannot be written ({error.strerror})") from error
            amount += 1
    return amount


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for a folder of each set")
    parser.add_argument("--per-set", type=int, default=5, help="pictures of each set")
    asked = parser.parse_args()
    try:
        print(write_sets(asked.out, asked.per_set), "depth files in", asked.out)
    except UosamError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
