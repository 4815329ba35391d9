"""Rasterise the hand-drawn outlines in ``polygons.json``, and imitate coarse masks of them.

``python -m examples.make_ground_truth`` from the top of the repository writes ``ground_truth`` and
``coarse`` anew, with the same bytes. Both are stored as ImageNet-S and PASS do: R + 256 G.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import PIL.Image
from skimage.draw import polygon2mask

from uosam.io.codecs import write_labels
from uosam.structures import IGNORE, LabelMap, LabelSpec
from uosam.training.data.degradation import imitate_coarse

HERE = Path(__file__).parent
SEED = 2026
NOISE = 0.23
STRIDES = {"rocket": 16}
"""Pixels to a cell of the coarse grid where 32 is too many: the rocket is half a cell wide."""
SPEC = LabelSpec(codec="luss", background=0, ignore=1000)


def rasterise(
    outlines: list[dict[str, object]], ids: dict[str, int], hw: tuple[int, int]
) -> LabelMap:
    """Paint outlines one over the other, in their order.

    Args:
        outlines: each with "class" and "points", a closed polygon of (x, y) where an integer is
            the centre of a pixel.
        ids: class name to id.
        hw: size of the picture.

    Returns:
        (H, W) labels; a pixel belongs to a polygon that holds its centre, and to background 0 if
        none does.
    """
    labels = np.zeros(hw, np.int32)
    for outline in outlines:
        points = np.array(outline["points"], np.float64)
        labels[polygon2mask(hw, points[:, ::-1])] = ids[str(outline["class"])]
    return labels


def main(out: Path = HERE) -> None:
    """Write ``ground_truth`` and ``coarse`` of every picture into ``out``."""
    drawn = json.loads((HERE / "polygons.json").read_text())
    ids = {name: int(label) for label, name in drawn["classes"].items()}
    for index, (name, outlines) in enumerate(sorted(drawn["pictures"].items())):
        with PIL.Image.open(HERE / "images" / f"{name}.jpg") as picture:
            hw = picture.height, picture.width
        known = [outline for outline in outlines if outline["class"] != "ignore"]
        coarse = imitate_coarse(
            rasterise(known, ids, hw),
            np.random.default_rng([SEED, index]),
            noise=NOISE,
            stride=STRIDES.get(name, 32),
        )
        for folder, labels in (
            ("ground_truth", rasterise(outlines, {**ids, "ignore": IGNORE}, hw)),
            ("coarse", coarse),
        ):
            (out / folder).mkdir(parents=True, exist_ok=True)
            write_labels(out / folder / f"{name}.png", labels, SPEC)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=HERE, help="default: this folder")
    main(parser.parse_args().out)
