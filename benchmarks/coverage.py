"""How often intervals hold the true value, on populations of images whose true value is known.

``python -m benchmarks.coverage`` draws sets of 10 to 100 images from populations of 4000 imitated
ones, asks for the 95 % interval of their mean IoU, and counts how often it holds that of the whole
population; so for the difference between two methods. Beside ``bootstrap`` stand what it was
before, plain percentiles, and BCa as SciPy has it. A row goes to
``benchmarks/results/coverage.jsonl``.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.stats import bootstrap as scipy_bootstrap

from benchmarks.speed import facts, store
from uosam.metrics.bootstrap import bootstrap, paired_bootstrap
from uosam.metrics.scores import Doubles, Score, iou_score

RESULTS = Path(__file__).parent / "results" / "coverage.jsonl"
IMAGES = 4000
SIZES = (10, 20, 50, 100)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What images of a population look like.

    Attributes:
        classes: number of classes.
        more: mean number of classes of an image beyond its first.
        evenness: concentration of the class frequencies; small for a few common classes.
        spread: of the logarithm of an object's pixels.
        quality: parameters of the beta distribution of an object's IoU.
        falling: how much less the IoU of large objects is, as that of thin boundaries.
    """

    classes: int
    more: float
    evenness: float
    spread: float
    quality: tuple[float, float]
    falling: float = 0.0


KINDS = {
    "object and background": Kind(classes=2, more=4, evenness=50, spread=0.7, quality=(8, 2)),
    "21 classes, two an image": Kind(classes=21, more=1, evenness=2, spread=1.0, quality=(3, 2)),
    "11 classes, most in an image": Kind(
        classes=11, more=12, evenness=3, spread=1.0, quality=(3, 2)
    ),
    "boundaries of 6 classes": Kind(
        classes=6, more=1, evenness=1, spread=1.5, quality=(1.2, 3), falling=0.6
    ),
    "boundaries of 21 classes": Kind(
        classes=21, more=1, evenness=1, spread=1.5, quality=(1.2, 3), falling=0.6
    ),
}


def population(kind: Kind, *, seed: int = 1, better: float = 0.0) -> csr_array:
    """Imitate (``IMAGES``, 3 C) sums of prediction, truth and intersection by class.

    Args:
        kind: of the images.
        seed: of the images; the same for two methods that are to be compared.
        better: share of an object's error that the method mends, on average.
    """
    rng = np.random.default_rng(seed)
    mended = np.random.default_rng(seed + 1)
    frequency = rng.dirichlet(np.full(kind.classes, kind.evenness))
    sums = np.zeros((3, IMAGES, kind.classes))
    for image in range(IMAGES):
        drawn = rng.choice(kind.classes, 1 + rng.poisson(kind.more), p=frequency)
        for label in np.unique(drawn):
            area = 1e4 * rng.lognormal(-1, kind.spread)
            iou = rng.beta(*kind.quality) * (1 - kind.falling * (area > 3e3))
            iou += 2 * better * mended.random() * (1 - iou)
            iou = min(max(iou, 1e-3), 1.0)
            both = 0.9 * area * min(1.0, 1.5 * iou)
            sums[:, image, label] = max(both, both / iou - area + both), area, both
    return csr_array(np.concatenate(list(sums), axis=1))


def score_of(sums: csr_array) -> Score:
    """Return the mean IoU over classes that occur, as the protocol "plain" has it."""
    return iou_score(sums, "skip")


def draws(score: Score, resamples: int, seed: int) -> Doubles:
    """Return the score of resampled images."""
    images = score.sums.shape[0]
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(images, np.full(images, 1 / images), resamples).astype(np.float64)
    return score.finish((score.sums.T @ counts.T).T)


def ours(score: Score, resamples: int, seed: int) -> tuple[float, float]:
    """Return the interval that the package gives."""
    found = bootstrap(score, resamples=resamples, seed=seed)
    return found.low, found.high


def percentiles(score: Score, resamples: int, seed: int) -> tuple[float, float]:
    """Return the percentiles of a bootstrap."""
    low, high = np.quantile(draws(score, resamples, seed), [0.025, 0.975])
    return float(low), float(high)


def centred(score: Score, resamples: int, seed: int) -> tuple[float, float]:
    """Return percentiles moved so that their mean is the value, as version 0.1.0 did."""
    drawn = draws(score, resamples, seed)
    low, high = score.value() + np.quantile(drawn, [0.025, 0.975]) - drawn.mean()
    return float(low), float(high)


def bca(score: Score, resamples: int, seed: int) -> tuple[float, float]:
    """Return SciPy's bias-corrected and accelerated interval."""
    dense = score.sums.toarray()

    def statistic(index: Any, axis: int = -1) -> Any:
        totals = dense[np.moveaxis(np.asarray(index), axis, -1)].sum(axis=-2)
        return score.finish(totals.reshape(-1, dense.shape[1])).reshape(totals.shape[:-1])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of degenerate draws, which count as misses
        found = scipy_bootstrap(
            (np.arange(len(dense)),),
            statistic,
            n_resamples=resamples,
            batch=100,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)


METHODS: dict[str, Callable[[Score, int, int], tuple[float, float]]] = {
    "t": ours,
    "centred percentiles": centred,
    "percentiles": percentiles,
    "BCa": bca,
}


def cover(kind: Kind, images: int, sets: int, resamples: int) -> dict[str, Any]:
    """Draw sets from a population and count the intervals that hold its value.

    Returns:
        By method: share of the intervals that hold the true value, and their mean width; so for
        the difference to a method that mends a tenth of the errors.
    """
    one, other = population(kind), population(kind, better=0.1)
    truth = score_of(one).value()
    change = score_of(other).value() - truth
    held: dict[str, list[bool]] = {name: [] for name in (*METHODS, "difference")}
    width: dict[str, list[float]] = {name: [] for name in held}
    rng = np.random.default_rng(images)
    for number in range(sets):
        chosen = rng.integers(0, IMAGES, images)
        first, second = score_of(one[chosen]), score_of(other[chosen])
        for name, method in METHODS.items():
            low, high = method(first, resamples, number)
            held[name].append(low <= truth <= high)
            width[name].append(high - low)
        found = paired_bootstrap(first, second, resamples=resamples, seed=number)
        held["difference"].append(found.low <= change <= found.high)
        width["difference"].append(found.high - found.low)
    return {
        name: {
            "coverage": round(float(np.mean(held[name])), 4),
            "width": round(float(np.mean(width[name])), 4),
        }
        for name in held
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=400, help="drawn from each population")
    parser.add_argument("--resamples", type=int, default=400, help="of each set")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    rows = []
    print("population, images: " + ", ".join((*METHODS, "difference")) + "; coverage (width)")
    for name, kind in KINDS.items():
        for images in SIZES:
            found = cover(kind, images, arguments.sets, arguments.resamples)
            rows.append({"population": name, "images": images, **found})
            cells = (
                f"{100 * c['coverage']:.0f} % ({100 * c['width']:.1f})" for c in found.values()
            )
            print(f"{name}, {images}: " + ", ".join(cells), flush=True)
    if not arguments.dry_run:
        measured = {"sets": arguments.sets, "resamples": arguments.resamples, "level": 0.95}
        store(RESULTS, {"part": "coverage", **facts(), **measured, "rows": rows})


if __name__ == "__main__":
    main()
