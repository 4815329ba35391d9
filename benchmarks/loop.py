"""What refining, and training again on the result, bring to clusters found in pictures alone.

``python -m benchmarks.loop`` takes pictures of ``$UOSAM_SHARED/data`` whose classes are known,
finds as many clusters as there are classes, and runs the loop of ``uosam loop`` beside its rivals
(``benchmarks.loop_rivals``). A row for every step goes to ``benchmarks/results/loop.jsonl`` as soon
as a rival is done; those that are in it are not run again. Truth is looked at for scores alone.
Clusters get their classes by a Hungarian matching of pixels, found on the clusters of k-means and
kept for every step after; beside that stands the mIoU with a matching of each step's own. Masks
with classes of their own (``masks`` of a source) are not matched.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.accuracy import TOP, changed_files
from benchmarks.loop_rivals import RIVALS, Run, begin
from benchmarks.loop_scores import HEADLINES, score
from benchmarks.speed import facts, store
from uosam.config import load_config
from uosam.errors import UosamError
from uosam.io.images import read_image
from uosam.training.student.options import StudentOptions

RESULTS = Path(__file__).parent / "results" / "loop.jsonl"
SIDE = 256
"""Long side of the pictures and their truth, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a set lies, and how many of its pictures are taken, evenly spread.

    Attributes:
        folder: below ``data``.
        ignore: id of the truth that is not scored, beside 255.
        amount: pictures.
        flat: pictures and truth (``NAME.0.png``) lie side by side.
        masks: folder of masks to begin with, beside pictures and truth; none for clusters.
    """

    folder: str
    amount: int
    ignore: int | None = None
    flat: bool = False
    masks: str = ""


SETS = {
    "street": Source(folder="val/street", amount=12),
    "facade": Source(folder="val/facade", amount=12),
    "plants": Source(folder="val/plants", amount=12),
    "garments": Source(folder="val/garments", amount=12),
    "aerial": Source(folder="val/aerial", amount=12),
    "objects_voc": Source(folder="val/objects_voc", amount=12),
    "voc_classes": Source(folder="voc_classes", amount=16),
    "voc network": Source(folder="voc_classes", amount=60, masks="coarse_network"),
    "train peanut": Source(folder="train/peanut", amount=24, flat=True),
    "train facade": Source(folder="train/facade", amount=40, flat=True),
    "train camvid": Source(folder="train/camvid", amount=40, ignore=11, flat=True),
}
"""Sets whose truth no student sees. Those of train are pictures that the embedded segmenter was
trained on, class-agnostic: on these the student's schedule was chosen, and which mask is kept."""
TABLE = ("street", "facade", "plants", "aerial", "objects_voc")

STUDENT = StudentOptions(
    side=256, crop=128, pictures=6, least_steps=200, most_steps=200, check_every=50
)
"""A shorter schedule than the default, for pictures of this size."""

SCHEDULES = {
    "short": STUDENT,
    "long": replace(STUDENT, least_steps=300, most_steps=2500),
    "default": StudentOptions(),
}
"""How students are taught: "long" takes as many steps as the default does, with crops and pictures
of the short one."""


def prepare(data: Path, source: Source, work: Path, side: int = SIDE) -> int:
    """Write pictures, truth and given masks at their size; return how many classes truth has."""
    places = data / source.folder
    if source.flat:
        truths = {path.name[: -len(".0.png")]: path for path in sorted(places.glob("*.0.png"))}
        pictures = places
    else:
        truths = {path.stem: path for path in sorted((places / "gt").glob("*.png"))}
        pictures = places / "images"
    names = list(truths)
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, source.amount).astype(int)]
    seen: set[int] = set()
    for kind in ("images", "gt", *(["given"] if source.masks else [])):
        (work / kind).mkdir(parents=True, exist_ok=True)
    for name in chosen:
        image = read_image(pictures / f"{name}.jpg")
        truth = cv2.imread(str(truths[name]), cv2.IMREAD_UNCHANGED).astype(np.int32)
        if source.ignore is not None:
            truth[truth == source.ignore] = 255
        scale = min(1, side / max(truth.shape))
        size = (round(truth.shape[1] * scale), round(truth.shape[0] * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(work / "images" / f"{name}.png"), small[..., ::-1])
        cv2.imwrite(str(work / "gt" / f"{name}.png"), _shrink(truth, size))
        seen |= set(np.unique(_shrink(truth, size)).tolist()) - {255}
        if source.masks:
            mask = cv2.imread(str(places / source.masks / f"{name}.png"), cv2.IMREAD_UNCHANGED)
            cv2.imwrite(str(work / "given" / f"{name}.png"), _shrink(mask, size))
    return len(seen)


def _shrink(ids: Any, size: tuple[int, int]) -> Any:
    small = cv2.resize(ids.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return small.astype(np.uint8)


def done(path: Path, key: dict[str, Any]) -> bool:
    """Tell whether a set is among the rows."""
    if not path.is_file():
        return False
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return any(all(row.get(name) == value for name, value in key.items()) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(TABLE))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--amount", type=int, help="pictures of each set; default: its own number")
    parser.add_argument("--side", type=int, default=SIDE, help="long side of pictures")
    parser.add_argument("--schedule", choices=SCHEDULES, default="short", help="of students")
    parser.add_argument("--work", type=Path, default=Path("loop_out"), help="folder for masks")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shared = Path(os.environ.get("UOSAM_SHARED", TOP.parent / "shared"))
    common = {**facts(), "changed_files": changed_files()}
    config = load_config(None, ["engine.workers=1", "backend.device=cpu", *arguments.set])
    for seed in arguments.seeds:
        for name in arguments.sets:
            source = SETS[name]
            source = replace(source, amount=arguments.amount or source.amount)
            key = {"part": "loop", "set": name, "seed": seed, "images": source.amount}
            key |= {"rounds": arguments.rounds, "settings": arguments.set}
            key |= {"side": arguments.side, "schedule": arguments.schedule}
            wanted = [
                rival
                for rival in arguments.rivals
                if not (source.masks and rival == "dense CRF")  # masks have no scores
                if arguments.dry_run or not done(RESULTS, {**key, "rival": rival})
            ]
            if not wanted:
                continue
            words = (name, seed, source.amount, arguments.side, arguments.schedule, *arguments.set)
            work = arguments.work / "-".join(map(str, words)).replace(" ", "_")
            try:
                classes = prepare(shared / "data", source, work, arguments.side)
                run = Run(
                    work=work,
                    classes=classes,
                    rounds=arguments.rounds,
                    config=config,
                    student=replace(SCHEDULES[arguments.schedule], seed=seed, device="cpu"),
                    given=bool(source.masks),
                )
                first = begin(run)
                for rival in wanted:
                    steps, notes = RIVALS[rival](run)
                    rows = score(first if rival == "loop" else {}, steps, run)
                    for row in rows:
                        row |= notes.get(row["step"], {})
                        text = "  ".join(f"{value} {100 * row[value]:.1f}" for value in HEADLINES)
                        text += f"  own {100 * row['own_mIoU']:.1f}"
                        print(f"{name} {seed}  {row['step']}: {text}", flush=True)
                        if not arguments.dry_run:
                            fixed = {**common, **key, "rival": rival, "classes": classes}
                            store(RESULTS, {**fixed, **row})
                    for path in work.rglob("state.pt"):
                        path.unlink()
            except UosamError as error:
                sys.exit(f"error: {name}, seed {seed}: {error}")


if __name__ == "__main__":
    main()
