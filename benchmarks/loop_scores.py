"""The scores of the loop's steps, with one matching of clusters and classes for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.loop_rivals import Run, Steps
from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions

HEADLINES = ("mIoU", "boundary_mIoU")


def score(first: Steps, steps: Steps, run: Run) -> list[dict[str, Any]]:
    """Score steps with the matching of the first masks, and with one of their own.

    Args:
        first: the first masks, if they are to have a row; else empty.
        steps: others; their rows tell gains over the first masks, and over those refined.
        run: whose clusters are matched; given masks have classes already.
    """
    truth = run.work / "gt"
    told = {**first, **steps}
    names = list(told)
    folders = [told[name][0] for name in names]
    plain = EvaluateOptions(background="none", resamples=0)
    own = evaluate(folders, truth, replace(plain, matching="pixels"))
    options = replace(plain, resamples=1000)
    if not run.given:
        clusters = evaluate([run.first], truth, replace(plain, matching="pixels"))
        options = replace(options, match=clusters.methods[0].summary.match.classes)
    later = [steps[name][0] for name in steps]
    found = evaluate([run.first, *later], truth, options)
    gains = [_pairs(comparison) for comparison in found.comparisons]
    over: list[dict[str, list[float]] | None] = [None] * len(later)
    others = [folder for folder in later if folder != run.refined]
    whole = all((run.refined / path.name).is_file() for path in run.first.glob("*.png"))
    if whole and others:
        beyond = iter(evaluate([run.refined, *others], truth, options).comparisons)
        over = [None if folder == run.refined else _pairs(next(beyond)) for folder in later]
    rows = []
    for index, name in enumerate(names):
        place = index if first else index + 1  # the first masks lead what was evaluated
        values = found.methods[place].values
        row: dict[str, Any] = {"step": name, "seconds": round(told[name][1], 1)}
        row |= {key: values[key] for key in HEADLINES}
        row["own_mIoU"] = own.methods[index].values["mIoU"]
        if place:
            row["gains"] = gains[place - 1]
            if over[place - 1] is not None:
                row["over_refined"] = over[place - 1]
        rows.append(row)
    return rows


def _pairs(comparison: Any) -> dict[str, list[float]]:
    pairs = {key: comparison.differences[key] for key in HEADLINES}
    return {key: [pair.value, pair.low, pair.high] for key, pair in pairs.items()}
