"""What windows do for outlines in large pictures: mosaics of four, so that the truth is exact.

``python -m benchmarks.windows`` puts four development pictures at a time into one of 1024 pixels,
refines it with and without windows, prints what changed and appends a row to
``benchmarks/results/outlines.jsonl``. No set of large pictures with truth is at hand; in a mosaic
every object is as small a part of the picture as in a large one, and as finely drawn.
``--part train`` does the same with training pictures, to choose settings on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.accuracy import Picture, changed_files, data, read_set
from benchmarks.judge_masks import draw_question
from benchmarks.outlines import DEPTHS, RESULTS, object_rows, summarise
from benchmarks.speed import facts, store
from uosam.backends import load_backend
from uosam.config import dump_config, load_config
from uosam.errors import UosamError
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.pipeline import refine
from uosam.structures import IGNORE

TILE = 512
VAL = ("human", "person", "objects", "objects_voc", "objects_coco", "grabcut", "video", "garments")
TRAIN = ("human", "ccp", "bsds", "voc", "coco", "ecssd", "geodesic")
_IDS = 1000
"""Between the ids of two tiles, whose objects are different ones."""


def mosaic(tiles: Sequence[Picture]) -> Picture:
    """Put four pictures into one, reflected where they do not fill their quarter; 0 = background.

    What is reflected is no object of the truth, and nothing is scored there.
    """
    image = np.zeros((2 * TILE, 2 * TILE, 3), np.uint8)
    maps = np.zeros((2, 2 * TILE, 2 * TILE), np.int32)
    for index, tile in enumerate(tiles):
        height, width = tile.coarse.shape
        top, left = index // 2 * TILE, index % 2 * TILE
        fill = (0, TILE - height), (0, TILE - width)
        image[top : top + TILE, left : left + TILE] = np.pad(
            tile.image, (*fill, (0, 0)), mode="symmetric"
        )
        for target, part in zip(maps, (tile.coarse, tile.target), strict=True):
            target[top : top + height, left : left + width] = np.where(
                part > 0, part + _IDS * index, part
            )
        quarter = maps[1, top : top + TILE, left : left + TILE]
        quarter[height:] = IGNORE
        quarter[:, width:] = IGNORE
    return Picture(image=image, coarse=maps[0], target=maps[1])


def val_pictures(limit: int | None) -> Iterator[Picture]:
    """Yield pictures of the sets that have a background, in turn."""
    sets = [read_set(data("val") / name, limit) for name in VAL]
    for index in range(max(map(len, sets))):
        yield from (pictures[index] for pictures in sets if index < len(pictures))


def train_pictures(limit: int | None, generator: np.random.Generator) -> Iterator[Picture]:
    """Yield training pictures with imitated masks of objects on a background."""
    folders = [data("train") / name for name in TRAIN]
    orders = [generator.permutation(len(list(folder.glob("*.jpg")))) for folder in folders]
    for index in range(limit or 20):
        for folder, order in zip(folders, orders, strict=True):
            path = sorted(folder.glob("*.jpg"))[order[index]]
            maps = sorted(path.parent.glob(f"{path.stem}.*.png"))
            regions = read_with(maps[0], LabelOptions(ignore="none")).labels
            question = draw_question(regions, "imitated", generator)
            if question is not None and question.background == 0:
                yield Picture(
                    image=read_image(path), coarse=question.coarse, target=question.target
                )


def table(result: dict[str, Any]) -> str:
    """Return the changes by settings as a Markdown table."""
    names = ("iou", *(f"boundary_iou_{depth}" for depth in DEPTHS))
    lines = [
        "| settings | object IoU | boundary IoU at 0.02 | 0.01 | 0.005 | lose a point by it | "
        "length of outlines: before, after | time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for settings, numbers in result.items():
        cells = [settings]
        for name in names:
            low, high = (100 * side for side in numbers[name]["interval"])
            gain = 100 * numbers[name]["gain"]
            cells.append(f"{gain:+.2f} ({low:+.2f} to {high:+.2f})")
        cells += [
            f"{numbers['harmed']} of {numbers['objects']}",
            f"{numbers['coarse_outline']['raggedness']:.2f}, "
            f"{numbers['uosam_outline']['raggedness']:.2f}",
            f"{numbers['time']:.2f} times",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("val", "train"), default="val")
    parser.add_argument("--limit", type=int, help="pictures of each set or source")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument(
        "--try",
        dest="tried",
        nargs="+",
        default=["most=3"],
        help="windows settings: most=3,reach=1",
    )
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    try:
        compare(arguments)
    except UosamError as error:
        sys.exit(f"error: {error}")


def compare(arguments: argparse.Namespace) -> None:
    """Refine every mosaic without windows and with all settings that are tried."""
    seen, changed = facts(), changed_files()
    plain = load_config(None, arguments.set)
    tried = {
        text: load_config(None, [*arguments.set, *(f"windows.{one}" for one in text.split(","))])
        for text in arguments.tried
    }
    backend = load_backend(plain.backend)
    pictures = (
        val_pictures(arguments.limit)
        if arguments.part == "val"
        else train_pictures(arguments.limit, np.random.default_rng(11))
    )
    tiles: list[Picture] = []
    rows: dict[str, list[list[float]]] = {name: [] for name in ("", *tried)}
    spent = dict.fromkeys(rows, 0.0)
    images = 0
    for picture in pictures:
        tiles.append(picture)
        if len(tiles) < 4:
            continue
        whole, tiles = mosaic(tiles), []
        for name, config in {"": plain, **tried}.items():
            start = time.process_time()
            labels = refine(whole.image, whole.coarse, backend, config.refine).labels
            spent[name] += time.process_time() - start
            rows[name] += [[images, *row] for row in object_rows(labels, whole.target, 0)]
        images += 1
        print(f"{images} mosaics", file=sys.stderr)
    result = {
        name: summarise(np.array(rows[""]), np.array(rows[name]), images)
        | {"time": spent[name] / spent[""]}
        for name in tried
    }
    print(table(result))
    row = {"part": "windows", **seen, "changed_files": changed, "masks": arguments.part}
    row |= {"arguments": sys.argv[1:], "config": dump_config(plain), "result": result}
    if not arguments.dry_run:
        store(RESULTS, row | {"whole": False})


if __name__ == "__main__":
    main()
