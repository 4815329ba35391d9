"""Fit what turns the confidence of a refined pixel into the chance that its label is right.

``python -m benchmarks.calibrate collect train.npz`` refines training pictures of
``$UOSAM_SHARED/data/train`` with coarse maps made from their regions; with ``--val`` the pictures
of the development sets with theirs. It counts pixels, and those with the right label, by kind,
distance to an outline and raw confidence. ``fit train.npz`` fits isotonic curves and writes the
package's table. ``check val.npz`` stores a row of ``benchmarks/results/calibration.jsonl`` and
draws ``docs/images/calibration.svg``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from benchmarks.accuracy import SETS, TOP, data, read_set
from benchmarks.judge_masks import KINDS as KINDS_OF_MASK
from benchmarks.judge_masks import draw_question
from benchmarks.judge_table import choose_pictures
from benchmarks.speed import facts, store
from uosam.backends import BackendOptions, load_backend
from uosam.errors import InputError
from uosam.interchange.pseudo.calibration import (
    BANDS,
    KINDS,
    Calibration,
    Curve,
    bands_of,
    kinds_of,
    packaged,
    write_calibration,
)
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.pipeline import refine
from uosam.report.overlay import to_grey
from uosam.structures import IGNORE, Image, LabelMap

Counts = NDArray[np.int64]
"""(KINDS, BANDS + 1, 256, 2) pixels by raw confidence of 8 bits: all, and those that are right."""

Case = tuple[str, Image, LabelMap, LabelMap, int | None]
"""Set, picture, coarse map, truth, background."""

OUT = TOP / "uosam" / "interchange" / "pseudo" / "calibration.json"
RESULTS = Path(__file__).parent / "results" / "calibration.jsonl"
PICTURE = TOP / "docs" / "images" / "calibration.svg"
CELLS = 10
"""Of confidence, in diagram and error."""
_LEAST = 300
"""Pixels of a knot of a curve."""


def nothing() -> Counts:
    """Return counts of no pixel."""
    return np.zeros((len(KINDS), len(BANDS) + 1, 256, 2), np.int64)


def count(confidence: NDArray[np.uint8], ids: LabelMap, target: LabelMap, rest: Any) -> Counts:
    """Count the pixels of one picture; those without truth are passed over."""
    known = (target != IGNORE) & (ids != IGNORE)
    cell = (kinds_of(ids, rest), bands_of(ids), confidence)
    right = ids == target
    found = nothing()
    for place, mask in enumerate((known, known & right)):
        np.add.at(found[..., place], tuple(axis[mask] for axis in cell), 1)
    return found


def training_cases(most: int, seed: int, masks: Sequence[str]) -> Iterator[Case]:
    """Yield training pictures of all sources, each with a coarse map of one of the kinds."""
    generator = np.random.default_rng(seed)
    for source, path in choose_pictures(data("train"), None, generator)[:most]:
        maps = sorted(path.parent.glob(f"{path.stem}.*.png"))
        regions = read_with(
            maps[int(generator.integers(len(maps)))], LabelOptions(ignore="none")
        ).labels
        kind = masks[int(generator.integers(len(masks)))]
        question = draw_question(regions, kind, generator)
        if question is not None:
            yield (
                source,
                read_image(path),
                question.coarse,
                question.target,
                question.background,
            )


def development_cases(most: int) -> Iterator[Case]:
    """Yield the first pictures of every development set."""
    for name, rest in SETS.items():
        for picture in read_set(data("val") / name, most):
            yield name, picture.image, picture.coarse, picture.target, rest


def collect(cases: Iterator[Case], out: Path) -> None:
    """Refine and count, keeping what there is after every tenth picture."""
    backend = load_backend(BackendOptions())
    found: dict[str, Counts] = {}
    start, pictures = time.monotonic(), 0
    for name, image, coarse, target, rest in cases:
        try:
            result = refine(image, coarse, backend, background=rest)
        except InputError as error:
            print(error, file=sys.stderr)
            continue
        counted = count(to_grey(result.confidence), result.ids, target, rest)
        found[name] = found.get(name, nothing()) + counted
        pictures += 1
        if pictures % 10 == 0:
            np.savez_compressed(out, pictures=pictures, **found)
            print(f"{pictures} pictures, {time.monotonic() - start:.0f} s", file=sys.stderr)
    np.savez_compressed(out, pictures=pictures, **found)


def load(path: Path) -> tuple[int, dict[str, Counts]]:
    """Return the number of pictures and the counts by set."""
    with np.load(path) as kept:
        return int(kept["pictures"]), {name: kept[name] for name in kept if name != "pictures"}


def fit(counts: Counts, note: str) -> Calibration:
    """Fit a rising curve for each kind and band; bins of few pixels go with their neighbours."""
    curves = [[fit_curve(band) for band in kind] for kind in counts]
    return Calibration(curves=curves, facts=note)


def fit_curve(counts: NDArray[np.int64]) -> Curve:
    """Fit one isotonic curve to (256, 2) counts of all and of right pixels."""
    known = counts[:, 0] > 0
    if counts[:, 0].sum() < _LEAST:
        return Curve(raw=np.array([0, 1], np.float32), right=np.array([0, 1], np.float32))
    raw = np.arange(256)[known] / 255
    share = counts[known, 1] / counts[known, 0]
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    model.fit(raw, share, sample_weight=counts[known, 0])
    values = model.predict(np.arange(256) / 255)
    # Flat stretches need their two ends only.
    inner = (np.diff(values, prepend=-1) != 0) | (np.diff(values, append=2) != 0)
    grid = np.flatnonzero(inner)
    return Curve(raw=(grid / 255).astype(np.float32), right=values[grid].astype(np.float32))


def reliability(
    counts: Counts, calibration: Calibration | None
) -> tuple[NDArray[np.float64], float, float]:
    """Return pixels, mean confidence, share right by cell (CELLS, 3); the error; the Brier score.

    The expected calibration error is the mean over pixels of how far a cell's confidence is from
    the share that is right (Naeini, Cooper and Hauskrecht, 2015).

    Args:
        counts: of ``count``.
        calibration: curves to apply first; None for the raw confidence.
    """
    cells = np.zeros((CELLS, 3))
    brier = 0.0
    raw = np.arange(256) / 255
    for kind in range(len(KINDS)):
        for band in range(len(BANDS) + 1):
            total, right = counts[kind, band, :, 0], counts[kind, band, :, 1]
            sure = raw
            if calibration is not None:
                curve = calibration.curves[kind][band]
                sure = np.interp(raw, curve.raw, curve.right)
            place = np.minimum((sure * CELLS).astype(int), CELLS - 1)
            np.add.at(cells[:, 0], place, total)
            np.add.at(cells[:, 1], place, total * sure)
            np.add.at(cells[:, 2], place, right)
            brier += float((right * (1 - sure) ** 2 + (total - right) * sure**2).sum())
    every = max(1.0, float(cells[:, 0].sum()))
    error = float(np.abs(cells[:, 1] - cells[:, 2]).sum() / every)
    cells[:, 1:] /= np.maximum(cells[:, :1], 1)
    return cells, error, brier / float(every)


def check(path: Path) -> dict[str, Any]:
    """Measure error and Brier score of raw and calibrated confidence on all sets and on each."""
    pictures, by_set = load(path)
    every = np.sum(list(by_set.values()), axis=0)
    row: dict[str, Any] = {"pictures": pictures, "fitted_on": packaged().facts}
    for name, calibration in (("raw", None), ("calibrated", packaged())):
        cells, error, brier = reliability(every, calibration)
        # Every set counts the same, however many pixels its pictures have.
        each = {key: reliability(counts, calibration)[1] for key, counts in by_set.items()}
        row[name] = {
            "ece": round(error, 5),
            "brier": round(brier, 5),
            "ece_mean_of_sets": round(float(np.mean(list(each.values()))), 5),
            "ece_by_set": {key: round(value, 5) for key, value in each.items()},
            "cells": np.round(cells, 5).tolist(),
        }
    return row


def draw(row: dict[str, Any]) -> None:
    """Draw the reliability of raw and calibrated confidence, and the share of pixels by cell."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("svg")
    plt.rcParams["svg.hashsalt"] = "uosam"
    figure, axes = plt.subplots(2, 2, figsize=(8, 5), sharex=True, height_ratios=(3, 1))
    for column, name in enumerate(("raw", "calibrated")):
        cells = np.array(row[name]["cells"])
        full = cells[:, 0] > 0
        upper, lower = axes[0, column], axes[1, column]
        upper.plot([0, 1], [0, 1], color="0.7", lw=1)
        upper.plot(cells[full, 1], cells[full, 2], "o-", color="#1f5fa8")
        upper.set_title(f"{name}: error {100 * row[name]['ece']:.1f} %")
        lower.bar(np.arange(CELLS) / CELLS + 0.05, cells[:, 0] / cells[:, 0].sum(), width=0.09)
        lower.set_xlabel("confidence")
    axes[0, 0].set_ylabel("share of labels that are right")
    axes[1, 0].set_ylabel("pixels")
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("collect", "fit", "check"))
    parser.add_argument("counts", type=Path, help=".npz of counts")
    parser.add_argument("--val", action="store_true", help="collect of the development sets")
    parser.add_argument("--most", type=int, default=1000, help="pictures, of each set with --val")
    parser.add_argument("--masks", nargs="+", default=["imitated"], choices=KINDS_OF_MASK)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.what == "collect":
        cases = training_cases(arguments.most, arguments.seed, arguments.masks)
        collect(development_cases(arguments.most) if arguments.val else cases, arguments.counts)
    elif arguments.what == "fit":
        pictures, by_set = load(arguments.counts)
        note = (
            f"{pictures} training pictures, coarse maps {' and '.join(arguments.masks)}, model tiny"
        )
        calibration = fit(np.sum(list(by_set.values()), axis=0), note)
        OUT.write_text(write_calibration(calibration), encoding="utf-8")
    else:
        row = check(arguments.counts)
        draw(row)
        store(RESULTS, {**facts(), **row})
        for name in ("raw", "calibrated"):
            print(name, {key: row[name][key] for key in ("ece", "brier", "ece_mean_of_sets")})


if __name__ == "__main__":
    main()
