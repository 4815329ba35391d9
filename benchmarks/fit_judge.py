"""Fit the judge of a segmenter on training pictures and write its ``judge.json``.

Coarse maps of three kinds are made from region maps, every object of them is asked about in
several ways, and boosted trees learn from what was measured of an answer by how much its IoU
exceeds that of the coarse shape. Run: ``python -m benchmarks.fit_judge`` with UOSAM_SHARED set to
the folder that holds ``data/train``; ``--backend graphcut`` for the other segmenter.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupKFold

from benchmarks.accuracy import HARM, data
from benchmarks.judge_masks import KINDS as KINDS_OF_MASK
from benchmarks.judge_masks import Question, draw_question, match_question
from uosam.backends import BackendOptions, load_backend
from uosam.config import load_config
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.labels import iou
from uosam.stages.judging.candidates import KINDS, candidates
from uosam.stages.judging.evidence import FEATURES, evidence, lay_ground
from uosam.stages.prompts import PromptOptions, make_prompts
from uosam.stages.redraw import take
from uosam.structures import Backend

TOP = Path(__file__).resolve().parents[1]
ASKED = {
    "tiny": (
        *("again", "first", "large", "close", "blend", "whole_first", "whole_large"),
        *("joined", "joined_whole"),
    ),
    "graphcut": ("first", "large", "close", "blend", "joined"),
}
"""Kinds of answers by segmenter: what helps and is cheap."""
OUT = {
    "tiny": TOP / "uosam/backends/sam/judge.json",
    "graphcut": TOP / "uosam/backends/graphcut/judge.json",
}
PICTURES = {"voc": 110, "coco": 90, "ecssd": 60, "bsds": 50, "ccp": 50, "facade": 40, "animals": 40}
PICTURES |= {"human": 35, "camvid": 30, "flower": 20, "furniture": 20, "faces": 20, "gmap": 20}
PICTURES |= {"carparts": 20, "geodesic": 20, "food": 12, "cats": 12, "farm": 8, "panda": 5}
PICTURES |= {"peanut": 5, "mars": 5, "pwfid": 5, "cwfid": 5, "football": 5}
"""Training pictures by source."""
LOSS = 2.0
"""How much worse a loss is than a gain of as much."""
MARGIN = 0.015
"""What is taken off every expectation, against harm to masks that are nearly right."""
RISING = ("score", "expected_gain", "contrast_gain")
"""More of these may not lower the expected gain."""
_OBJECTS = 3  # of a map, at most


def collect(
    pictures: Sequence[tuple[str, Path]],
    backend: Backend,
    options: PromptOptions,
    kinds: Sequence[str],
    generator: np.random.Generator,
    made: Path | None = None,
) -> Iterator[dict[str, float | NDArray[np.float32]]]:
    """Yield what was measured of every answer, and how good it is.

    Args:
        pictures: source and file.
        backend: to ask.
        options: of the prompts.
        kinds: of answers.
        generator: of everything random.
        made: folder of ``SOURCE/NAME.png``, maps that a network has made of some of the pictures.

    Yields:
        "evidence" (F,), "gain" in IoU, "coarse" IoU, numbers of "picture", "object", "kind" of
        answer and "masks", the kind of coarse map.
    """
    number = 0
    for index, (source, path) in enumerate(pictures):
        image = read_image(path)
        maps = sorted(path.parent.glob(f"{path.stem}.*.png"))
        embedding = backend.embed(image)
        for masks, name in enumerate(KINDS_OF_MASK):
            file = maps[int(generator.integers(len(maps)))]
            regions = read_with(file, LabelOptions(ignore="none")).labels
            question: Question | None = None
            if name != "made":
                question = draw_question(regions, name, generator)
            elif made is not None and (file := made / source / f"{path.stem}.png").is_file():
                labels = read_with(file, LabelOptions(ignore="none")).labels
                question = match_question(labels, regions)
            if question is None:
                continue
            coarse, background = question.coarse, question.background
            prompts = make_prompts(coarse, embedding, options, background=background)
            asked = generator.permutation(np.unique(prompts.labels))[:_OBJECTS]
            rows = np.flatnonzero(np.isin(prompts.labels, asked))
            prompts = take(prompts, rows.tolist())
            ground = lay_ground(coarse, image, embedding, background)
            for label, found in candidates(prompts, embedding, backend, kinds):
                old, truth = coarse == label, question.truth(label)
                parts = int(np.count_nonzero(prompts.labels == label))
                number += 1
                if not found:
                    continue
                seen = evidence(label, old, parts, found, embedding, ground)
                before = iou(old, truth)
                for row, answer in zip(seen, found, strict=True):
                    mask = answer.mask
                    gain = iou(mask, truth) - before
                    if not truth.any():  # nothing is right there, less is better
                        more = np.count_nonzero(mask) / np.count_nonzero(old) - 1
                        gain = -0.15 * float(np.clip(more, -0.3, 1))
                    yield {
                        "evidence": row,
                        "gain": gain,
                        "coarse": before,
                        "picture": index,
                        "object": number,
                        "kind": KINDS.index(answer.kind),
                        "masks": masks,
                    }


def fit(table: Mapping[str, NDArray[Any]], names: Sequence[str]) -> HistGradientBoostingRegressor:
    """Fit trees to gains, losses stretched by ``LOSS``; all kinds of coarse maps weigh the same."""
    columns = [FEATURES.index(name) for name in names]
    weight = np.zeros(len(table["gain"]))
    for masks in np.unique(table["masks"]):
        at = table["masks"] == masks
        objects = table["object"][at]
        _, inverse, counts = np.unique(objects, return_inverse=True, return_counts=True)
        weight[at] = (1 / counts)[inverse]
        weight[at] /= weight[at].sum()
    model = HistGradientBoostingRegressor(
        max_iter=160,
        learning_rate=0.06,
        max_leaf_nodes=12,
        min_samples_leaf=25,
        l2_regularization=1.0,
        monotonic_cst=[int(name in RISING) for name in names],
        random_state=0,
    )
    aim = np.where(table["gain"] < 0, LOSS * table["gain"], table["gain"])
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
    """Predict every answer by a judge fitted on the other four fifths of the pictures."""
    columns = [FEATURES.index(name) for name in names]
    predicted = np.zeros(len(table["gain"]))
    folds = GroupKFold(3).split(predicted, groups=table["picture"])
    for seen, unseen in folds:
        model = fit({key: value[seen] for key, value in table.items()}, names)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=OUT, default="tiny")
    parser.add_argument("--checkpoint", help="other weights than the packaged ones")
    parser.add_argument("--share", type=float, default=1.0, help="of the pictures")
    parser.add_argument("--made", type=Path, help="SOURCE/NAME.png, maps of a network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="where to keep what was measured, as .npz")
    parser.add_argument("--fit", type=Path, nargs="+", help="fit on kept tables, measure nothing")
    arguments = parser.parse_args()
    name = arguments.backend
    if arguments.fit:
        table = join([dict(np.load(path)) for path in arguments.fit])
    else:
        backend = load_backend(BackendOptions(name=name, checkpoint=arguments.checkpoint))
        generator = np.random.default_rng(arguments.seed)
        prompts = load_config("graphcut" if name == "graphcut" else None).refine.prompts
        chosen = choose_pictures(data("train"), arguments.share, generator)
        rows, start = [], time.monotonic()
        for row in collect(chosen, backend, prompts, ASKED[name], generator, arguments.made):
            if not rows or row["picture"] != rows[-1]["picture"]:
                seconds = time.monotonic() - start
                print(
                    f"picture {row['picture']} of {len(chosen)}, {seconds:.0f} s", file=sys.stderr
                )
                if arguments.table and len(rows) and int(row["picture"]) % 10 == 0:
                    np.savez(arguments.table, **as_table(rows))
            rows.append(row)
        table = as_table(rows)
        if arguments.table:
            np.savez(arguments.table, **table)
            return
    names = [n for n in FEATURES if not n.startswith("is_") or n[3:] in ASKED[name]]
    print("\n".join(report(table, held_back(table, names) - MARGIN)))
    start_value, trees = as_trees(fit(table, names))
    start_value -= MARGIN
    stored = {"kinds": ASKED[name], "features": names, "start": start_value, "trees": trees}
    text = json.dumps(stored, separators=(",", ":")).replace("[[", "\n[[").replace("]]]", "]]\n]")
    OUT[name].write_text(text + "\n", encoding="utf-8")


def choose_pictures(
    root: Path, share: float, generator: np.random.Generator
) -> list[tuple[str, Path]]:
    """Draw pictures of every source, in random order."""
    chosen = []
    for source, amount in PICTURES.items():
        files = sorted((root / source).glob("*.jpg"))
        picked = generator.permutation(len(files))[: max(1, round(share * amount))]
        chosen += [(source, files[index]) for index in picked]
    return [chosen[index] for index in generator.permutation(len(chosen))]


def as_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Turn rows into columns."""
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def join(tables: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Put tables of different pictures together; their numbers stay apart."""
    joined: dict[str, list[NDArray[Any]]] = {key: [] for key in tables[0]}
    for index, table in enumerate(tables):
        for key, values in table.items():
            apart = 1_000_000 * index if key in ("picture", "object") else 0
            joined[key].append(values + apart)
    return {key: np.concatenate(values) for key, values in joined.items()}


if __name__ == "__main__":
    main()
