"""Fit the judge of a segmenter on a table of ``judge_table`` and write its ``judge.json``.

Boosted trees learn from what was measured of an answer how much better it is than the coarse shape.
The same tables give the same file. Run: ``python -m benchmarks.fit_judge TABLE.npz [TABLE.npz]``;
``--backend graphcut`` for the other segmenter, ``--report`` for held-back pictures only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks.accuracy import HARM
from benchmarks.judge_masks import KINDS as KINDS_OF_MASK
from benchmarks.judge_table import ASKED
from uosam.stages.judging.evidence import FEATURES

TOP = Path(__file__).resolve().parents[1]
OUT = {
    "tiny": TOP / "uosam/backends/sam/judge.json",
    "graphcut": TOP / "uosam/backends/graphcut/judge.json",
}
COST = 0.15
"""What harming an object costs beside the loss itself, in IoU: an answer has to gain more than this
times the chance of harm."""
MARGIN = 0.01
"""What is taken off every expectation beside that."""
EDGE = 0.5
"""What the boundary says of a gain; the area says the rest."""
WEIGHTS = (1.0, 2.0, 1.0, 2.0)
"""Of the kinds of coarse maps, in the order of ``judge_masks.KINDS``."""
RISING = ("score", "expected_gain", "contrast_gain")
"""More of these may not lower the expected gain."""
_FOLDS = 4


def fit(table: Mapping[str, NDArray[Any]], names: Sequence[str]) -> HistGradientBoostingRegressor:
    """Fit trees to gains, less ``COST`` for harm; objects of a kind of map weigh the same."""
    columns = [FEATURES.index(name) for name in names]
    _, inverse, answers = np.unique(table["object"], return_inverse=True, return_counts=True)
    weight = 1 / answers[inverse]
    for masks in np.unique(table["masks"]):
        at = table["masks"] == masks
        weight[at] *= WEIGHTS[masks] / weight[at].sum()
    model = HistGradientBoostingRegressor(
        max_iter=200,
        learning_rate=0.06,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        l2_regularization=2.0,
        monotonic_cst=[int(name in RISING) for name in names],
        early_stopping=False,
        random_state=0,
    )
    aim = (1 - EDGE) * table["gain"] + EDGE * table["boundary_gain"]
    aim = aim - COST * (table["gain"] < -HARM)
    return model.fit(table["evidence"][:, columns], aim, sample_weight=weight / weight.mean())


def as_trees(model: HistGradientBoostingRegressor) -> tuple[float, list[list[list[float]]]]:
    """Write fitted trees as ``uosam.stages.judging.judge.read_judge`` reads them."""
    trees = []
    for (predictor,) in model._predictors:  # scikit-learn offers no public way to its nodes
        nodes = predictor.nodes
        order, tree = [0], []
        for place in order:
            node = nodes[place]
            if node["is_leaf"]:
                tree.append([float(f"{node['value']:.4g}")])
            else:
                tree.append(
                    [
                        int(node["feature_idx"]),
                        float(f"{node['num_threshold']:.9g}"),
                        len(order),
                    ]
                )
                order += [int(node["left"]), int(node["right"])]
        trees.append(tree)
    return float(model._baseline_prediction.ravel()[0]), trees


def held_back(table: Mapping[str, NDArray[Any]], names: Sequence[str]) -> NDArray[np.float64]:
    """Predict every answer by a judge fitted on the pictures of the other folds."""
    columns = [FEATURES.index(name) for name in names]
    predicted = np.zeros(len(table["gain"]))
    for fold in range(_FOLDS):
        unseen = table["picture"] % _FOLDS == fold
        model = fit({key: value[~unseen] for key, value in table.items()}, names)
        predicted[unseen] = model.predict(table["evidence"][unseen][:, columns])
    return predicted


def report(table: Mapping[str, NDArray[Any]], predicted: NDArray[np.float64]) -> list[str]:
    """Tell what choosing by prediction gains and harms, beside the kinds and the best choice."""
    lines = []
    for masks, name in enumerate(KINDS_OF_MASK):
        at = np.flatnonzero(table["masks"] == masks)
        if not len(at):
            continue
        chosen, oracle, rule = [], [], []
        for number in np.unique(table["object"][at]):
            rows = at[table["object"][at] == number]
            best = rows[predicted[rows].argmax()]
            chosen.append(table["gain"][best] if predicted[best] > 0 else 0.0)
            oracle.append(max(0.0, table["gain"][rows].max()))
            rule.append(table["gain"][rows[0]])
        taken, fixed = np.array(chosen), np.array(rule)
        lines.append(
            f"{name:9s} {len(taken):5d} objects: judge {100 * taken.mean():+.2f}, harmed "
            f"{100 * (taken < -HARM).mean():.1f} %, kept {100 * (taken == 0).mean():.0f} %; first "
            f"kind {100 * fixed.mean():+.2f}, harmed {100 * (fixed < -HARM).mean():.1f} %; best "
            f"possible {100 * np.mean(oracle):+.2f}"
        )
    return lines


def judge_text(table: Mapping[str, NDArray[Any]], kinds: Sequence[str]) -> str:
    """Fit a judge of some kinds of answers and write it as JSON; the same for the same table."""
    names = names_for(kinds)
    start, trees = as_trees(fit(table, names))
    stored = {"kinds": kinds, "features": names, "start": start - MARGIN, "trees": trees}
    text = json.dumps(stored, separators=(",", ":")).replace("[[", "\n[[").replace("]]]", "]]\n]")
    return text + "\n"


def names_for(kinds: Sequence[str]) -> list[str]:
    """Return the columns of evidence that tell answers of these kinds apart."""
    return [name for name in FEATURES if not name.startswith("is_") or name[3:] in kinds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", type=Path, nargs="+", help="of judge_table, parts of one run")
    parser.add_argument("--backend", choices=OUT, default="tiny")
    parser.add_argument("--report", action="store_true", help="tell of held-back pictures, no more")
    arguments = parser.parse_args()
    parts = [dict(np.load(file)) for file in arguments.tables]
    table = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    kinds = ASKED[arguments.backend]
    if arguments.report:
        print("\n".join(report(table, held_back(table, names_for(kinds)) - MARGIN)))
        return
    OUT[arguments.backend].write_text(judge_text(table, kinds), encoding="utf-8")


if __name__ == "__main__":
    main()
