"""The scores of the loop's steps, with one matching of clusters and classes for all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from uosam.evaluation.evaluate import evaluate
from uosam.evaluation.types import EvaluateOptions

HEADLINES = ("mIoU", "boundary_mIoU")


def score(steps: dict[str, tuple[Path, float]], work: Path) -> list[dict[str, Any]]:
    """Score every step with the matching of k-means, and with one of its own."""
    names = list(steps)
    folders = [steps[name][0] for name in names]
    options = EvaluateOptions(background="none", matching="pixels", resamples=0)
    own = evaluate(folders, work / "gt", options)
    match = own.methods[0].summary.match.classes
    found = evaluate(folders, work / "gt", replace(options, match=match, resamples=1000))
    rows = []
    for index, name in enumerate(names):
        values = found.methods[index].values
        row: dict[str, Any] = {"step": name, "seconds": round(steps[name][1], 1)}
        row |= {key: values[key] for key in HEADLINES}
        row["own_mIoU"] = own.methods[index].values["mIoU"]
        if index:
            paired = found.comparisons[index - 1].differences
            row["gains"] = {
                key: [paired[key].value, paired[key].low, paired[key].high] for key in HEADLINES
            }
        rows.append(row)
    return rows


def score_over(work: Path, rounds: int) -> list[dict[str, Any]]:
    """Score what retraining adds to refining alone: gains over the refined masks of round 0.

    Args:
        work: folder of a set that was run.
        rounds: of its loop.
    """
    loop = work / "loop"
    steps = {
        f"loop, round {n}, refined": loop / f"round-{n}" / "refined" for n in range(rounds + 1)
    }
    steps["loop, kept"] = loop / "masks"
    options = EvaluateOptions(background="none", matching="pixels", resamples=0)
    clusters = evaluate([loop / "round-0" / "coarse"], work / "gt", options)
    match = clusters.methods[0].summary.match.classes
    options = replace(options, match=match, resamples=1000)
    found = evaluate(list(steps.values()), work / "gt", options)
    rows = []
    for name, comparison in zip(list(steps)[1:], found.comparisons, strict=True):
        pairs = {key: comparison.differences[key] for key in HEADLINES}
        gains = {key: [pair.value, pair.low, pair.high] for key, pair in pairs.items()}
        rows.append({"step": name, "gains": gains})
    return rows
