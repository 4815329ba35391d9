"""How finely outlines are drawn: near the truth's, as long as it, without specks and holes.

``python -m benchmarks.outlines`` refines all development sets with both kinds of coarse masks,
those imitated of a USS network and those that are nearly right, and appends a row to
``benchmarks/results/outlines.jsonl``: gains and harm, boundary IoU at four depths, raggedness,
specks and holes. ``--objects FILE`` keeps the numbers of every object; ``--fill`` writes the
tables of the last two rows into docs/outlines.md and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from benchmarks import marked
from benchmarks.accuracy import HARM, SETS, Picture, changed_files, data, read_set
from benchmarks.near import nearly_right
from benchmarks.speed import facts, store
from uosam.backends import load_backend
from uosam.config import dump_config, load_config
from uosam.errors import InputError, UosamError
from uosam.labels import iou
from uosam.metrics.bootstrap import paired_bootstrap
from uosam.metrics.boundary import boundary_width, near_edge
from uosam.metrics.contour import raggedness
from uosam.metrics.scores import mean_score
from uosam.pipeline import refine
from uosam.structures import IGNORE, LabelMap, Mask

RESULTS = Path(__file__).parent / "results" / "outlines.jsonl"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "outlines.md"
KINDS = ("imitated", "nearly right")
DEPTHS = (0.02, 0.01, 0.005)
"""Of boundaries, in image diagonals: that of the other tables, and where people look."""


_BORDER = 1.3
"""Share of an object's area up to which unknown pixels around it are a border drawn along its
outline; more of them are an area nobody has labelled, where no outline is known."""


def specks(pred: Mask, target: Mask) -> int:
    """Count the parts of a mask that lie apart from the truth altogether.

    >>> specks(np.array([[1, 0, 1, 0, 1]], bool), np.array([[1, 1, 0, 0, 0]], bool))
    2
    """
    count, ids = cv2.connectedComponents(pred.astype(np.uint8), connectivity=8)
    return count - 1 - len(np.unique(ids[target & pred]))


def holes(pred: Mask, target: Mask) -> int:
    """Count the holes of a mask that the truth fills.

    >>> ring = np.pad(np.ones((3, 3), bool), 1); ring[2, 2] = False
    >>> holes(ring, np.ones((5, 5), bool)), holes(ring, ring)
    (1, 0)
    """
    around = np.pad(~pred, 1, constant_values=True).astype(np.uint8)
    count, ids = cv2.connectedComponents(around, connectivity=4)
    outside = np.pad(~target, 1, constant_values=True)
    return count - 1 - len(np.unique(ids[outside & (around > 0)]))


def without_void(target: LabelMap) -> LabelMap:
    """Give unknown pixels the label of the nearest known one: half of a border to either side."""
    unknown = target == IGNORE
    if not unknown.any() or unknown.all():
        return target
    nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return np.asarray(target[tuple(nearest)], np.int32)


def object_rows(labels: LabelMap, target: LabelMap, background: int | None) -> list[list[float]]:
    """Measure every object of the truth: id, IoU, boundary IoUs, raggedness, specks, holes.

    IoUs leave unknown pixels out, as everywhere. Outlines go through them, since cutting them out
    would draw new ones; raggedness is nan where more than a border around the object is unknown.
    """
    scored = target != IGNORE
    known = np.where(scored, labels, IGNORE).astype(np.int32)
    filled = without_void(target)
    widths = [boundary_width((target.shape[0], target.shape[1]), depth) for depth in DEPTHS]
    edges = [(near_edge(known, width), near_edge(target, width)) for width in widths]
    rows = []
    for label in np.unique(target[scored]).tolist():
        if label != background:
            p, t = known == label, target == label
            boundary = [iou(p & ours, t & theirs) for ours, theirs in edges]
            drawn, whole = labels == label, filled == label
            border = np.count_nonzero(whole) <= _BORDER * np.count_nonzero(t)
            length = raggedness(drawn, whole) if border else float("nan")
            extra = specks(drawn, t | ~scored), holes(drawn, t)
            rows.append([label, iou(p, t), *boundary, length, *extra])
    return rows


def summarise(before: np.ndarray, after: np.ndarray, images: int) -> dict[str, Any]:
    """Sum up a set.

    Args:
        before: (n, 2 + F) of the coarse maps: number of the image and columns of ``object_rows``.
        after: the same of the refined ones.
        images: how many there are.
    """
    image = before[:, 0].astype(np.int64)
    result: dict[str, Any] = {"images": images, "objects": len(before)}
    names = ("iou", *(f"boundary_iou_{depth}" for depth in DEPTHS))
    for column, name in enumerate(names, start=2):
        pair = (mean_score(rows[:, column], image, images) for rows in (before, after))
        interval = paired_bootstrap(*pair)
        result[name] = {"coarse": float(before[:, column].mean())}
        result[name] |= {"gain": interval.value, "interval": [interval.low, interval.high]}
    result["harmed"] = int(np.count_nonzero(before[:, 2] - after[:, 2] > HARM))
    start = 2 + len(names)
    for name, rows in (("coarse", before), ("uosam", after)):
        ragged = rows[:, start]
        result[f"{name}_outline"] = {
            "raggedness": float(np.nanmedian(ragged)),
            "within_10_percent": float(np.mean(np.abs(ragged[~np.isnan(ragged)] - 1) <= 0.1)),
            "specks": int(rows[:, start + 1].sum()),
            "holes": int(rows[:, start + 2].sum()),
        }
    return result


def table(result: dict[str, dict[str, Any]]) -> str:
    """Return all sets as a Markdown table, and their mean."""
    lines = [
        "| set | objects | object IoU | boundary IoU at 0.02 | 0.01 | 0.005 | harmed | length of "
        "outlines: coarse, refined | specks: coarse, refined | holes: coarse, refined |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    names = ("iou", *(f"boundary_iou_{depth}" for depth in DEPTHS))
    for name, numbers in result.items():
        ours, coarse = numbers["uosam_outline"], numbers["coarse_outline"]
        objects, harmed = numbers["objects"], numbers["harmed"]
        cells = [name, str(objects)]
        cells += [
            f"{100 * numbers[key]['coarse']:.1f} {100 * numbers[key]['gain']:+.1f}" for key in names
        ]
        cells += [
            f"{harmed} ({100 * harmed / objects:.1f} %)",
            f"{coarse['raggedness']:.2f}, {ours['raggedness']:.2f}",
            f"{coarse['specks']}, {ours['specks']}",
            f"{coarse['holes']}, {ours['holes']}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    every = list(result.values())
    cells = ["**mean of sets**", str(sum(numbers["objects"] for numbers in every))]
    cells += [f"{100 * np.mean([numbers[key]['gain'] for numbers in every]):+.1f}" for key in names]
    shares = [numbers["harmed"] / numbers["objects"] for numbers in every]
    ragged = [
        f"{np.mean([n[f'{who}_outline']['raggedness'] for n in every]):.2f}"
        for who in ("coarse", "uosam")
    ]
    cells += [f"{100 * np.mean(shares):.1f} %", ", ".join(ragged)]
    for kind in ("specks", "holes"):
        cells.append(
            ", ".join(
                str(sum(n[f"{who}_outline"][kind] for n in every)) for who in ("coarse", "uosam")
            )
        )
    return "\n".join([*lines, f"| {' | '.join(cells)} |"])


def fill(page: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return the page with the tables of some rows between its markers.

    Raises:
        InputError: a marker is missing.
    """
    parts = []
    for row in rows:
        parts.append(
            f"Masks: {row['masks']}.\n\n{table(row['result'])}\n\n{marked.measured(row)}\n"
        )
    return marked.fill(page, "\n".join(parts).removesuffix("\n"), "outlines", "docs/outlines.md")


def last_rows() -> list[dict[str, Any]]:
    """Return the newest stored row of each kind of masks with default settings and all sets.

    Raises:
        InputError: there is none.
    """
    stored = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    rows = [json.loads(line) for line in stored]
    found = []
    for kind in KINDS:
        whole = [row for row in rows if row["masks"] == kind and row["whole"]]
        if not whole:
            raise InputError(
                f"{RESULTS.name} must hold a whole run with masks that are {kind}, got none; run "
                "benchmarks.outlines first"
            )
        found.append(whole[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), help="default: all")
    parser.add_argument("--masks", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--limit", type=int, help="pictures of each set; default: all")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--objects", type=Path, help=".npz for the numbers of every object")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    parser.add_argument("--fill", action="store_true", help="write docs/outlines.md's tables")
    arguments = parser.parse_args()
    try:
        if arguments.fill:
            PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), last_rows()), encoding="utf-8")
            return
        measure_all(arguments)
    except UosamError as error:
        sys.exit(f"error: {error}")


def measure_all(arguments: argparse.Namespace) -> None:
    """Refine and measure, one kind of masks after the other."""
    config = load_config(None, arguments.set)
    backend = load_backend(config.backend)
    seen = facts()  # of the start: the working tree may go on while this runs
    changed = changed_files()
    kept: dict[str, np.ndarray] = {}
    for kind in arguments.masks:
        result = {}
        for name in arguments.sets:
            background = SETS[name]
            pictures: list[Picture] = read_set(data("val") / name, arguments.limit)
            if kind == "nearly right":
                pictures = nearly_right(pictures)
            before, after = [], []
            start = time.process_time()
            spent = 0.0
            for index, picture in enumerate(pictures):
                start = time.process_time()
                labels = refine(
                    picture.image, picture.coarse, backend, config.refine, background=background
                ).labels
                spent += time.process_time() - start
                for rows, drawn in ((before, picture.coarse), (after, labels)):
                    found = object_rows(drawn, picture.target, background)
                    rows += [[index, *row] for row in found]
            pair = np.array(before), np.array(after)
            result[name] = summarise(*pair, len(pictures))
            result[name]["processor_seconds_mean"] = spent / len(pictures)
            kept[f"{kind}/{name}"] = np.stack(pair)
            if arguments.objects:
                np.savez_compressed(arguments.objects, **kept)
            print(f"{kind}: {name} done", file=sys.stderr)
        print(f"{kind}\n{table(result)}")
        row = {"part": "outlines", **seen, "changed_files": changed, "masks": kind}
        row |= {"arguments": sys.argv[1:], "config": dump_config(config), "result": result}
        row["whole"] = not (arguments.set or arguments.limit) and arguments.sets == list(SETS)
        if not arguments.dry_run:
            store(RESULTS, row)


if __name__ == "__main__":
    main()
