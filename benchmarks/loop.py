"""What refining, and training again on the result, bring to clusters found in pictures alone.

``python -m benchmarks.loop`` takes pictures of ``$UOSAM_SHARED/data`` whose classes are known, at a
long side of 256, finds as many clusters as there are classes, and runs the loop of ``uosam loop``
beside its rivals: no refining, SAMRefiner's prompts, a dense CRF. A row for every step goes to
``benchmarks/results/loop.jsonl`` as soon as a set is done; sets that are in it are not run again.
Truth is looked at for scores alone. Clusters get their classes by a Hungarian matching of pixels,
found on the clusters of k-means and kept for every step after; beside that stands the mIoU with a
matching of each step's own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from uosam.baselines.dense_crf import dense_crf
from uosam.baselines.samrefiner import refine_samrefiner

from benchmarks.accuracy import TOP, changed_files
from benchmarks.loop_scores import HEADLINES, score, score_over
from benchmarks.speed import facts, store
from uosam.backends import load_backend
from uosam.config import Config, load_config
from uosam.errors import UosamError
from uosam.evaluation.rounds.loop import LoopOptions, run_loop
from uosam.evaluation.rounds.record import count_ids, refuse
from uosam.io.codecs import LabelOptions, read_labels, write_labels
from uosam.io.images import read_image
from uosam.io.pairs import find_pictures
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions
from uosam.structures import Image, LabelMap
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
    """

    folder: str
    amount: int
    ignore: int | None = None
    flat: bool = False


SETS = {
    "street": Source(folder="val/street", amount=12),
    "facade": Source(folder="val/facade", amount=12),
    "plants": Source(folder="val/plants", amount=12),
    "garments": Source(folder="val/garments", amount=12),
    "aerial": Source(folder="val/aerial", amount=12),
    "objects_voc": Source(folder="val/objects_voc", amount=12),
    "voc_classes": Source(folder="voc_classes", amount=16),
    "train facade": Source(folder="train/facade", amount=40, flat=True),
    "train camvid": Source(folder="train/camvid", amount=40, ignore=11, flat=True),
}
"""Sets whose truth no student sees. Those of train are pictures that the embedded segmenter was
trained on, class-agnostic: on these the student's schedule was chosen."""
TABLE = ("street", "facade", "plants", "aerial", "objects_voc")

STUDENT = StudentOptions(
    side=256, crop=128, pictures=6, least_steps=200, most_steps=200, check_every=50
)
"""A shorter schedule than the default, for pictures of this size."""


def prepare(data: Path, source: Source, work: Path) -> int:
    """Write pictures and truth at their size; return the number of classes that they show."""
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
    for kind in ("images", "gt"):
        (work / kind).mkdir(parents=True, exist_ok=True)
    for name in chosen:
        image = read_image(pictures / f"{name}.jpg")
        truth = cv2.imread(str(truths[name]), cv2.IMREAD_UNCHANGED).astype(np.int32)
        if source.ignore is not None:
            truth[truth == source.ignore] = 255
        scale = SIDE / max(truth.shape)
        size = (round(truth.shape[1] * scale), round(truth.shape[0] * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(work / "images" / f"{name}.png"), small[..., ::-1])
        ids = cv2.resize(truth.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT)
        cv2.imwrite(str(work / "gt" / f"{name}.png"), ids.astype(np.uint8))
        seen |= set(np.unique(ids.astype(int)).tolist()) - {255}
    return len(seen)


def refine_with(
    method: Callable[[Image, LabelMap], LabelMap], images: Path, masks: Path, out: Path
) -> float:
    """Refine a folder with a rival; return processor seconds."""
    start = time.process_time()
    for path in sorted(masks.glob("*.png")):
        found = read_labels(path, background=None, ignore=None)
        labels = method(read_image(images / path.name), found.labels)
        write_labels(out / path.name, labels, found.spec)
    return time.process_time() - start


def run_set(
    work: Path, classes: int, seed: int, rounds: int, config: Config, rivals: bool = True
) -> tuple[dict[str, tuple[Path, float]], dict[str, dict[str, Any]]]:
    """Run the loop and its rivals, or the loop alone.

    Returns:
        The masks of each step with the seconds up to there, and what is told of students by step:
        their agreement, and why ``uosam loop`` would not have used them.
    """
    images = work / "images"
    student = replace(STUDENT, seed=seed, device="cpu")
    steps: dict[str, tuple[Path, float]] = {}
    notes: dict[str, dict[str, Any]] = {}

    def loop(name: str, options: LoopOptions, first: str = "") -> None:
        start = time.process_time()
        result = run_loop(images, work / name, options)
        seconds = time.process_time() - start
        for number, stage in enumerate(result.stages):
            own = f"{name}, round {number}"
            if number or first:
                coarse = stage.coarse or work / name / "round-0" / "coarse"
                steps[f"{own}, coarse" if number else first] = (coarse, seconds)
            agreed = result.rounds[number].agreement
            if agreed is not None:
                labels = LabelOptions(background="none")
                counts = count_ids(number, work / name, labels, result.samples)
                notes[f"{own}, coarse"] = {"agreement": agreed, "refused": refuse(agreed, counts)}
            if stage.refined is not None:
                steps[f"{own}, refined"] = (stage.refined, seconds)
        steps[f"{name}, kept"] = (result.masks, seconds)

    settings = {"seed": seed, "side": SIDE}
    whole = LoopOptions(
        rounds=rounds, k=classes, settings=settings, config=config, student=student, guards=False
    )
    loop("loop", whole, "k-means")
    if not rivals:
        return steps, notes
    clusters = work / "loop" / "round-0" / "coarse"
    plain = replace(config, labels=replace(config.labels, background="none"))
    alone = replace(whole, k=None, masks=clusters, settings={}, config=plain, refines=False)
    loop("no refining", alone)
    backend = load_backend(config.backend)
    start = time.process_time()
    scores = work / "scores"
    soft = CoarseOptions(
        model="clusters",
        settings={**settings, "classes": classes},
        device="cpu",
        scores=str(scores),
    )
    label_folder(find_pictures(images)[0], work / "soft", soft)
    for path in sorted(clusters.glob("*.png")):
        shares = np.load(scores / f"{path.stem}.npy").astype(np.float32)
        sharp = dense_crf(np.log(np.clip(shares, 1e-5, 1)), read_image(images / path.name))
        spec = read_labels(path, background=None, ignore=None).spec
        write_labels(work / "dense CRF" / path.name, sharp.argmax(0).astype(np.int32), spec)
    shutil.rmtree(scores)
    steps["dense CRF"] = (work / "dense CRF", time.process_time() - start)
    own = work / "SAMRefiner" / "refined"
    seconds = refine_with(
        lambda i, m: refine_samrefiner(i, m, backend, background=None), images, clusters, own
    )
    steps["SAMRefiner"] = (own, seconds)
    return steps, notes


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
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--alone", action="store_true", help="the loop without its rivals")
    parser.add_argument("--amount", type=int, help="pictures of each set; default: its own number")
    parser.add_argument("--work", type=Path, default=Path("loop_out"), help="folder for masks")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shared = Path(os.environ.get("UOSAM_SHARED", TOP.parent / "shared"))
    common = {**facts(), "changed_files": changed_files(), "side": SIDE}
    config = load_config(None, ["engine.workers=1", "backend.device=cpu", *arguments.set])
    for seed in arguments.seeds:
        for name in arguments.sets:
            source = SETS[name]
            source = replace(source, amount=arguments.amount or source.amount)
            key = {"part": "loop", "set": name, "seed": seed, "images": source.amount}
            key |= {"rounds": arguments.rounds, "settings": arguments.set}
            if done(RESULTS, key) and not arguments.dry_run:
                continue
            work = arguments.work / f"{name}-{seed}-{source.amount}"
            try:
                classes = prepare(shared / "data", source, work)
                steps, notes = run_set(
                    work, classes, seed, arguments.rounds, config, rivals=not arguments.alone
                )
                rows = [{**row, **notes.get(row["step"], {})} for row in score(steps, work)]
            except UosamError as error:
                sys.exit(f"error: {name}, seed {seed}: {error}")
            for row in rows:
                text = "  ".join(f"{value} {100 * row[value]:.1f}" for value in HEADLINES)
                print(f"{name} {seed}  {row['step']}: {text}  own {100 * row['own_mIoU']:.1f}")
                if not arguments.dry_run:
                    store(RESULTS, {**common, **key, "classes": classes, **row})
            sys.stdout.flush()
            if not arguments.dry_run:
                keep_pictures(work, arguments.work / "kept")
    for seed in arguments.seeds:
        for name in arguments.sets:
            amount = arguments.amount or SETS[name].amount
            work = arguments.work / "kept" / f"{name}-{seed}-{amount}"
            key = {"part": "loop over refined", "set": name, "seed": seed, "images": amount}
            key |= {"rounds": arguments.rounds, "settings": arguments.set}
            if work.is_dir() and not done(RESULTS, key) and not arguments.dry_run:
                for row in score_over(work, arguments.rounds):
                    store(RESULTS, {**common, **key, **row})


def keep_pictures(work: Path, kept: Path) -> None:
    """Leave the masks of the loop for drawing, and drop the states of its students."""
    for path in work.rglob("state.pt"):
        path.unlink()
    kept.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(kept / work.name, ignore_errors=True)
    work.rename(kept / work.name)


if __name__ == "__main__":
    main()
