"""The default of 0.1.0 beside today's, set by set, on both kinds of coarse masks.

``python -m benchmarks.then_and_now --maps MAPS`` refines the development sets with today's default,
reads what 0.1.0 made of the same masks from ``MAPS/imitated/SET`` and ``MAPS/near/SET`` (16-bit PNG
files of the pictures' names, and ``MAPS/KIND/SET.json`` with its processor "seconds" a picture),
and appends a row to ``results/then_and_now.jsonl``. Without ``--maps`` it measures nothing and
writes the last row's tables into ``docs/leaderboard.md``. ``--masks MAPS`` writes the nearly right
masks that 0.1.0 is to be given, for its own program cannot make them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import HARM, SETS, TOP, Picture, changed_files, data, read_set
from benchmarks.marked import fill
from benchmarks.near import nearly_right
from benchmarks.speed import facts, store
from uosam.backends import load_backend
from uosam.config import load_config
from uosam.errors import InputError
from uosam.metrics.bootstrap import paired_bootstrap
from uosam.metrics.objects import object_scores
from uosam.metrics.scores import mean_score
from uosam.pipeline import refine
from uosam.structures import LabelMap

PAGE = TOP / "docs" / "leaderboard.md"
RESULTS = Path(__file__).parent / "results" / "then_and_now.jsonl"
THEN = "a482081"
"""The commit that was released as 0.1.0."""
KINDS = ("imitated", "near")
KEYS = ("iou", "boundary_iou")


def pictures_of(kind: str, name: str) -> list[Picture]:
    """Read a development set with one kind of coarse masks."""
    pictures = read_set(data("val") / name)
    return pictures if kind == "imitated" else nearly_right(pictures)


def write_masks(maps: Path) -> None:
    """Write the nearly right masks of all sets to ``MAPS/masks/SET``."""
    for name in SETS:
        folder = maps / "masks" / name
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted((data("val") / name / "images").iterdir())
        for file, picture in zip(files, pictures_of("near", name), strict=True):
            cv2.imwrite(str(folder / f"{file.stem}.png"), picture.coarse.astype(np.uint16))


def read_maps(folder: Path, amount: int) -> list[LabelMap]:
    """Read what 0.1.0 made of a set.

    Raises:
        InputError: there are not as many maps as pictures.
    """
    files = sorted(folder.glob("*.png"))
    if len(files) != amount:
        raise InputError(
            f"{folder} must hold {amount} maps, got {len(files)}; make them with 0.1.0"
        )
    return [cv2.imread(str(file), cv2.IMREAD_UNCHANGED).astype(np.int32) for file in files]


def compare(
    pictures: Sequence[Picture], maps: Mapping[str, Sequence[LabelMap]], background: int | None
) -> dict[str, Any]:
    """Score maps of "then" and "now" object by object.

    Returns:
        Number of "objects"; coarse scores; for each of both its gains and the share of "harmed"
        objects; "change", now less then, with its 95 % interval over pictures.
    """
    scored: dict[str, list[NDArray[np.float64]]] = {}
    for when, labels in {"coarse": [one.coarse for one in pictures], **maps}.items():
        scored[when] = [
            np.array(
                [
                    (score.iou, score.boundary_iou)
                    for score in object_scores(one, picture.target, background=background)
                ]
            ).reshape(-1, len(KEYS))
            for one, picture in zip(labels, pictures, strict=True)
        ]
    image = np.repeat(np.arange(len(pictures)), [len(rows) for rows in scored["coarse"]])
    tables = {when: np.concatenate(rows) for when, rows in scored.items()}
    coarse = tables.pop("coarse")
    result: dict[str, Any] = {"objects": len(image), "coarse": coarse.mean(axis=0).tolist()}
    for when, table in tables.items():
        gains = (table - coarse).mean(axis=0)
        harmed = float((coarse[:, 0] - table[:, 0] > HARM).mean())
        result[when] = {"gains": gains.tolist(), "harmed": harmed}
    result["change"] = []
    for column in range(len(KEYS)):
        means = [mean_score(tables[w][:, column], image, len(pictures)) for w in ("then", "now")]
        interval = paired_bootstrap(*means)
        result["change"].append([interval.value, interval.low, interval.high])
    return result


def measure(maps: Path) -> dict[str, dict[str, Any]]:
    """Compare both on all sets and both kinds of masks."""
    config = load_config()
    backend = load_backend(config.backend)
    result: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        result[kind] = {}
        for name, background in SETS.items():
            pictures = pictures_of(kind, name)
            then = read_maps(maps / kind / name, len(pictures))
            now, seconds = [], []
            for one in pictures:
                start = time.process_time()
                now.append(
                    refine(one.image, one.coarse, backend, config.refine, background=background)
                )
                seconds.append(time.process_time() - start)
            both = {"then": then, "now": [one.labels for one in now]}
            entry = compare(pictures, both, background)
            entry["then"] |= json.loads((maps / kind / f"{name}.json").read_text())
            entry["now"]["seconds"] = float(np.mean(seconds))
            result[kind][name] = entry
            print(kind, name, file=sys.stderr)
    return result


def table(result: Mapping[str, Any]) -> str:
    """Return gains and harm of both and the change, set by set, and the means over sets."""
    lines = [
        "| set | objects | 0.1.0: IoU / boundary IoU, harmed | now | change [95 %] |",
        "|---|---|---|---|---|",
    ]
    for name, entry in result.items():
        cells = [_cell(entry["then"]), _cell(entry["now"])]
        change = " / ".join(
            f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            for value, low, high in entry["change"]
        )
        lines.append(f"| {name} | {entry['objects']} | {' | '.join(cells)} | {change} |")
    means = {
        when: {
            "gains": np.mean([entry[when]["gains"] for entry in result.values()], axis=0),
            "harmed": np.mean([entry[when]["harmed"] for entry in result.values()]),
        }
        for when in ("then", "now")
    }
    difference = means["now"]["gains"] - means["then"]["gains"]
    objects = sum(entry["objects"] for entry in result.values())
    cells = [_cell(means["then"]), _cell(means["now"])]
    change = " / ".join(f"{100 * value:+.1f}" for value in difference)
    lines.append(f"| **mean of sets** | {objects} | {' | '.join(cells)} | {change} |")
    return "\n".join(lines)


def _cell(entry: Mapping[str, Any]) -> str:
    gains = " / ".join(f"{100 * gain:+.1f}" for gain in entry["gains"])
    return f"{gains}, {100 * entry['harmed']:.1f} %"


def page(row: Mapping[str, Any]) -> str:
    """Return both tables, and what they cost, of a stored row."""
    texts = []
    for kind, title in zip(KINDS, ("Imitated masks:", "Nearly right masks:"), strict=True):
        texts += [title, table(row["result"][kind])]
    seconds = [
        np.mean([entry[when]["seconds"] for entry in row["result"]["imitated"].values()])
        for when in ("then", "now")
    ]
    texts.append(
        f"0.1.0 is commit {THEN}, now {row['commit'][:7]}, {row['time'][:10]}. Processor seconds a "
        f"picture, imitated, mean of sets: {seconds[0]:.2f} and {seconds[1]:.2f}."
    )
    return "\n\n".join(texts)


def last_row() -> dict[str, Any]:
    """Return the newest stored row.

    Raises:
        InputError: there is none.
    """
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    if not lines:
        raise InputError(f"{RESULTS.name} must hold a row, run benchmarks.then_and_now --maps")
    return dict(json.loads(lines[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--maps", type=Path, help="what 0.1.0 made of the sets; measure")
    group.add_argument("--masks", type=Path, help="write the nearly right masks for 0.1.0")
    arguments = parser.parse_args()
    if arguments.masks is not None:
        write_masks(arguments.masks)
    elif arguments.maps is not None:
        result = measure(arguments.maps)
        row = {"part": "then and now", **facts(), "changed_files": changed_files()}
        store(RESULTS, {**row, "then": THEN, "result": result})
    else:
        text = fill(PAGE.read_text("utf-8"), page(last_row()), "then and now", PAGE.name)
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
