"""Measure the answers that a segmenter gives on training pictures, for ``fit_judge`` to learn from.

``python -m benchmarks.judge_table TABLE.npz --made MAPS`` asks about objects of the pictures of
``$UOSAM_SHARED/data/train`` by coarse maps of four kinds, three of them made from region maps, and
writes what was measured of every answer and what it gained. MAPS holds SOURCE/NAME.png, maps of a
real network: ``uosam coarse SOURCE MAPS/SOURCE --model imagenet --vocabulary voc``, of the JPEG
files alone. The table is written every few pictures, so that a stop loses little. ``--part 0/2``
and ``--part 1/2`` ask about every second picture each; ``fit_judge`` takes both tables.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import data
from benchmarks.judge_masks import KINDS as KINDS_OF_MASK
from benchmarks.judge_masks import Question, draw_question, match_question
from uosam.backends import BackendOptions, load_backend
from uosam.config import load_config
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.labels import iou
from uosam.metrics.boundary import boundary_width, near_edge
from uosam.stages.judging.candidates import KINDS, candidates
from uosam.stages.judging.evidence import evidence, lay_ground
from uosam.stages.prompts import PromptOptions, make_prompts
from uosam.stages.redraw import take
from uosam.structures import Backend, Embedding, Image, LabelMap, Mask

ASKED = {
    "tiny": (
        *("again", "first", "large", "close", "blend", "whole_first", "whole_large"),
        *("joined", "joined_whole"),
    ),
    "graphcut": ("first", "large", "close", "blend", "joined"),
}
"""Kinds of answers by segmenter: what helps and is cheap."""
PICTURES = {"voc": 36, "coco": 30, "ecssd": 20, "bsds": 60, "ccp": 70, "facade": 60, "animals": 13}
PICTURES |= {"human": 40, "camvid": 50, "flower": 20, "furniture": 20, "faces": 25, "gmap": 25}
PICTURES |= {"carparts": 25, "geodesic": 20, "food": 12, "cats": 12, "farm": 8, "panda": 5}
PICTURES |= {"peanut": 5, "mars": 5, "pwfid": 5, "cwfid": 5, "football": 5}
"""Training pictures by source, beside those that a network has made maps of."""
MADE = ("voc", "coco", "ecssd", "animals", "cats", "farm", "furniture")
"""Sources whose pictures show what the network has classes for."""
RATIO = 0.03
"""Depth of boundaries, of the diagonal."""
_OBJECTS = 3  # of a map made from regions, at most
_EVERY = 20  # pictures between two writes
_DRAWN = 7  # seed, beside its place in the order, of all that is drawn of one picture


def choose_pictures(
    root: Path, made: Path | None, generator: np.random.Generator
) -> list[tuple[str, Path]]:
    """Return all pictures with a network's map and some of every source, in random order."""
    chosen: list[tuple[str, Path]] = []
    for source in MADE if made is not None else ():
        assert made is not None
        maps = sorted((made / source).glob("*.png"))
        chosen += [(source, root / source / f"{path.stem}.jpg") for path in maps]
    mapped = {path for _, path in chosen}
    for source, amount in PICTURES.items():
        files = [path for path in sorted((root / source).glob("*.jpg")) if path not in mapped]
        picked = generator.permutation(len(files))[:amount]
        chosen += [(source, files[index]) for index in picked]
    return [chosen[index] for index in generator.permutation(len(chosen))]


def collect(
    pictures: Sequence[tuple[str, Path]],
    backend: Backend,
    options: PromptOptions,
    kinds: Sequence[str],
    made: Path | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[dict[str, float | NDArray[np.float32]]]:
    """Yield what was measured of every answer, and how good it is.

    What is drawn of a picture depends on its place alone, so that parts may be run side by side.

    Args:
        pictures: source and file.
        backend: to ask.
        options: of the prompts.
        kinds: of answers.
        made: folder of ``SOURCE/NAME.png``, maps that a network has made of some of the pictures;
            those get one further map each, the others one of each kind.
        part: which of how many parts of the pictures, from 0.

    Yields:
        "evidence" (F,), "gain" in IoU and "boundary_gain" in boundary IoU, "coarse" IoU, numbers
        of "picture", "object", "kind" of answer and "masks", the kind of coarse map.
    """
    start, parts = part
    numbers = count(start, parts)
    for index in range(start, len(pictures), parts):
        source, path = pictures[index]
        generator = np.random.default_rng([_DRAWN, index])
        image = read_image(path)
        maps = sorted(path.parent.glob(f"{path.stem}.*.png"))
        embedding = backend.embed(image)
        drawn = KINDS_OF_MASK[:3]
        if made is not None and (file := made / source / f"{path.stem}.png").is_file():
            labels = _read(file)
            if (labels > 0).any():
                drawn = (drawn[index // parts % len(drawn)],)
                question = match_question(labels, _read(maps[0]))
                asked = _ask(question, image, embedding, backend, options, kinds, numbers)
                yield from ({**row, "picture": index, "masks": 3} for row in asked)
        for name in drawn:
            regions = _read(maps[int(generator.integers(len(maps)))])
            drawn_question = draw_question(regions, name, generator)
            if drawn_question is None:
                continue
            asked = _ask(
                drawn_question, image, embedding, backend, options, kinds, numbers, generator
            )
            masks = KINDS_OF_MASK.index(name)
            yield from ({**row, "picture": index, "masks": masks} for row in asked)


def _ask(
    question: Question,
    image: Image,
    embedding: Embedding,
    backend: Backend,
    options: PromptOptions,
    kinds: Sequence[str],
    numbers: Iterator[int],
    generator: np.random.Generator | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure all answers about the objects of a map, or about some that the generator chooses."""
    coarse, background = question.coarse, question.background
    prompts = make_prompts(coarse, embedding, options, background=background)
    if not len(prompts):
        return
    if generator is not None:
        some = generator.permutation(np.unique(prompts.labels))[:_OBJECTS]
        prompts = take(prompts, np.flatnonzero(np.isin(prompts.labels, some)).tolist())
    ground = lay_ground(coarse, image, embedding, background)
    for label, found in candidates(prompts, embedding, backend, kinds):
        number = next(numbers)
        if not found:
            continue
        old, truth = coarse == label, question.truth(label)
        parts = int(np.count_nonzero(prompts.labels == label))
        seen = evidence(label, old, parts, found, embedding, ground)
        before, edge_before = iou(old, truth), _boundary_iou(old, truth)
        for row, answer in zip(seen, found, strict=True):
            mask = answer.mask
            yield {
                "evidence": row,
                "gain": iou(mask, truth) - before,
                "boundary_gain": _boundary_iou(mask, truth) - edge_before,
                "coarse": before,
                "object": number,
                "kind": KINDS.index(answer.kind),
            }


def _boundary_iou(mask: Mask, truth: Mask) -> float:
    width = boundary_width((mask.shape[0], mask.shape[1]), RATIO)
    return iou(mask & near_edge(mask, width), truth & near_edge(truth, width))


def _read(path: Path) -> LabelMap:
    return read_with(path, LabelOptions(ignore="none")).labels


def as_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Turn rows into columns."""
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="where to keep what is measured, as .npz")
    parser.add_argument("--backend", choices=ASKED, default="tiny")
    parser.add_argument("--checkpoint", help="other weights than the packaged ones")
    parser.add_argument("--limit", type=int, help="pictures; default: all")
    parser.add_argument("--made", type=Path, help="SOURCE/NAME.png, maps of a network")
    parser.add_argument("--part", default="0/1", metavar="I/N", help="pictures I, I + N, ...")
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    name = arguments.backend
    backend = load_backend(BackendOptions(name=name, checkpoint=arguments.checkpoint))
    generator = np.random.default_rng(arguments.seed)
    options = load_config("graphcut" if name == "graphcut" else None).refine.prompts
    chosen = choose_pictures(data("train"), arguments.made, generator)[: arguments.limit]
    rows: list[dict[str, Any]] = []
    start, written = time.monotonic(), 0
    at, parts = map(int, arguments.part.split("/"))
    for row in collect(chosen, backend, options, ASKED[name], arguments.made, (at, parts)):
        rows.append(row)
        if row["picture"] >= written + _EVERY:
            written = row["picture"]
            np.savez_compressed(arguments.table, **as_table(rows))
            seconds = time.monotonic() - start
            print(f"picture {written} of {len(chosen)}, {seconds:.0f} s", file=sys.stderr)
    np.savez_compressed(arguments.table, **as_table(rows))


if __name__ == "__main__":
    main()
