"""What a segmenter proposes on depth, and what the votes make of it: pictures to be looked at.

``python -m benchmarks.depth_pictures --examples 2`` draws examples with made-up depth for the docs;
``--rgbd MASKS FILE`` draws the pictures of ``$UOSAM_SHARED/data/rgbd``, which may not be
redistributed, with coarse masks of yours, ``MASKS/SET/NAME.png``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from benchmarks.accuracy import TOP, Picture
from benchmarks.depth_guide import CONFIGS, config_of, examples, refine_all, rgbd_frames
from benchmarks.synthetic_depth import synthetic_depth
from uosam.backends import load_backend
from uosam.errors import UosamError
from uosam.geometry.cloud import paint_groups
from uosam.geometry.render import make_guide
from uosam.io.codecs import read_labels
from uosam.io.depth import read_depth
from uosam.report.overlay import colour, draw_labels
from uosam.structures import Guide, Image, Masks

PICTURE = TOP / "docs" / "images" / "depth_guide.jpg"


def draw_masks(image: Image, masks: Masks) -> Image:
    """Lay masks over a picture, the smaller on top."""
    groups = paint_groups(masks, (image.shape[0], image.shape[1]))
    table = np.array([colour(i).tolist() for i in range(len(masks))] or [[0, 0, 0]], np.float32)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) * 0.6
    drawn = np.where(groups[..., None] >= 0, 0.45 * grey + 0.55 * table[groups], grey)
    return np.asarray(drawn.round(), np.uint8)


def draw_rows(
    path: Path, views: Iterable[tuple[Picture, Guide]], drawn: str, model: str, width: int = 300
) -> None:
    """Draw photo, rendering, proposals of both, and the votes of both, a row a picture.

    Args:
        path: of the file.
        views: pictures with coarse masks, and their guides.
        drawn: what the guide is called.
        model: of ``CONFIGS``.
        width: of a column.
    """
    config, _ = config_of(model, "inverse")
    backend = load_backend(config.backend)
    titles = ("photograph", drawn, "proposals: photo", "proposals: depth")
    titles += ("coarse mask", "vote: photo", "vote: depth")
    rows = []
    for picture, guide in views:
        maps, found = refine_all(picture, 0, guide, backend, config)
        panels = [picture.image, guide.image]
        panels += [draw_masks(picture.image, found[arm]) for arm in ("photo", "guide")]
        panels += [draw_labels(picture.image, maps[arm]) for arm in ("coarse", "photo", "guide")]
        height = round(width * picture.image.shape[0] / picture.image.shape[1])
        small = [cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA) for p in panels]
        gap = np.full((height, 6, 3), 255, np.uint8)
        rows.append(np.concatenate([part for p in small for part in (p, gap)], axis=1)[:, :-6])
        rows.append(np.full((6, rows[-1].shape[1], 3), 255, np.uint8))
    head = PIL.Image.new("RGB", (rows[0].shape[1], 26), "white")
    pen, font = PIL.ImageDraw.Draw(head), PIL.ImageFont.load_default(size=15)
    for column, title in enumerate(titles):
        pen.text((column * (width + 6) + 4, 4), title, fill="black", font=font)
    PIL.Image.fromarray(np.concatenate([np.asarray(head), *rows])).save(path, quality=82)


def example_views(most: int) -> Iterator[tuple[Picture, Guide]]:
    """Yield the first examples with made-up depth."""
    for number, picture in enumerate(examples()[:most]):
        yield picture, make_guide(synthetic_depth(picture.target, seed=number))


def rgbd_views(masks: Path) -> Iterator[tuple[Picture, Guide]]:
    """Yield the pictures with measured depth, coarse masks of SET/NAME.png in a folder of yours.

    Raises:
        InputError: a mask is not there.
    """
    for image, path in rgbd_frames():
        file = masks / path.parent.parent.name / f"{path.stem}.png"
        coarse = read_labels(file, ignore=None).labels
        guide = make_guide(read_depth(path, "mm", hw=(image.shape[0], image.shape[1])))
        yield Picture(image=image, coarse=coarse, target=coarse), guide


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", choices=CONFIGS, default="tiny")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--examples", type=int, metavar="N", help="how many, for the docs")
    what.add_argument(
        "--rgbd", type=Path, nargs=2, metavar=("MASKS", "FILE"), help="measured depth"
    )
    asked = parser.parse_args()
    try:
        if asked.examples:
            draw_rows(PICTURE, example_views(asked.examples), "synthetic depth", asked.model)
        else:
            masks, file = asked.rgbd
            draw_rows(file, rgbd_views(masks), "measured depth", asked.model)
    except UosamError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
