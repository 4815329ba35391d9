"""The main job on the pictures that come with the package: refine, score against truth, draw.

And the whole chain on anybody's photographs, with the masks of a real network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uosam.config import Config, examples_folder
from uosam.datasets.vocabulary import Vocabulary, read_vocabulary
from uosam.errors import ConfigError, InputError
from uosam.evaluation.chain import RunOptions, RunResult, Show, load_run, run_all
from uosam.io.atomic import write_atomic
from uosam.io.codecs import read_labels
from uosam.io.images import read_image
from uosam.io.pairs import find_pairs, find_pictures
from uosam.labels import areas
from uosam.metrics.objects import ObjectScore, object_scores
from uosam.report.levels import encode_click
from uosam.report.sheet import Panels, encode_sheet
from uosam.runs.manifest import MANIFEST, PARTIAL
from uosam.runs.refine import refine_folder
from uosam.runs.task import Outcome
from uosam.structures import LabelMap

DRAWN = 12
"""Pictures on the sheet at most, the first in order of name."""


@dataclass(frozen=True, kw_only=True)
class PictureScore:
    """What became of one example, or the mean of all.

    Attributes:
        name: of the picture.
        objects: number of objects in its ground truth.
        coarse: mean object IoU and object boundary IoU of the coarse mask, in [0, 1].
        refined: the same of the refined mask.
        seconds: wall time of the refinement.
    """

    name: str
    objects: int
    coarse: tuple[float, float]
    refined: tuple[float, float]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Demo:
    """The result of ``run_demo``.

    Attributes:
        pictures: one row per example, in order of name.
        mean: over all objects of all examples; its seconds are those of a picture.
        masks: folder of the refined masks, in the encoding of the coarse ones.
        overlays: folder of the before/after pictures.
        sheet: the contact sheet, a PNG.
        levels: one click at every level of granularity, a PNG.
    """

    pictures: tuple[PictureScore, ...]
    mean: PictureScore
    masks: Path
    overlays: Path
    sheet: Path
    levels: Path


def run_demo(
    out: Path,
    config: Config,
    *,
    examples: Path | None = None,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Demo:
    """Refine the examples into ``out``, score them and draw them; what an earlier demo left goes.

    Args:
        out: gets ``masks``, ``overlays``, ``demo.png`` and ``levels.png``.
        config: all settings; where the results go is not among them.
        examples: folder with ``images``, ``coarse`` and ``ground_truth``; None for the packaged.
        on_outcome: called with each refined picture.

    Raises:
        ConfigError: ``out`` holds files that no demo wrote.
        InputError: the examples are not there, or one could not be refined.
        BackendError: the model cannot be loaded.
    """
    examples = examples or examples_folder()
    masks, overlays, sheet = out / "masks", out / "overlays", out / "demo.png"
    _make_room(out, masks)
    engine = replace(config.engine, overwrite=True, overlay=str(overlays), manifest=None)
    inputs = examples / "images", examples / "coarse"
    pairs = find_pairs(*inputs)
    seconds: dict[str, float] = {}

    def note(outcome: Outcome) -> None:
        seconds[outcome.row["name"]] = sum(outcome.seconds.values())
        on_outcome(outcome)

    settings = replace(config, engine=engine)
    run = refine_folder(pairs, masks, settings, inputs=inputs, on_outcome=note)
    if run.failures:
        name, reason = next(iter(run.failures.items()))
        raise InputError(f"example {name} must be refined, but: {reason}")
    scored = []
    panels = []
    for sample in pairs.samples:
        assert sample.image is not None  # find_pairs gives both
        assert sample.coarse is not None
        truth = read_labels(examples / "ground_truth" / f"{sample.name}.png")
        background = truth.spec.background
        image = read_image(sample.image)
        before = read_labels(sample.coarse).labels
        after = read_labels(masks / f"{sample.name}{sample.coarse.suffix}").labels
        scores = [object_scores(m, truth.labels, background=background) for m in (before, after)]
        scored.append((sample.name, scores[0], scores[1], seconds[sample.name]))
        panels.append(
            Panels(
                image=image,
                maps=(before, after, truth.labels),
                scores=(_mean(scores[0]), _mean(scores[1])),
                background=background,
            )
        )
    write_atomic(sheet, encode_sheet(panels))
    levels = out / "levels.png"
    # The picture with the most objects, and its largest one.
    shown = max(panels, key=lambda panel: len(areas(panel.maps[2])))
    sizes = {k: v for k, v in areas(shown.maps[2]).items() if k != shown.background}
    clicked = max(sizes, key=lambda label: sizes[label])
    write_atomic(levels, encode_click(shown.image, shown.maps[2], clicked, config.backend))
    coarse = [score for row in scored for score in row[1]]
    refined = [score for row in scored for score in row[2]]
    return Demo(
        pictures=tuple(_score(*row) for row in scored),
        mean=_score("mean", coarse, refined, float(np.mean(list(seconds.values())))),
        masks=masks,
        overlays=overlays,
        sheet=sheet,
        levels=levels,
    )


def _make_room(out: Path, masks: Path) -> None:
    """Let an earlier demo be done anew, and leave the files of others alone.

    Raises:
        ConfigError: ``out`` is a file, or holds files but no masks of a demo.
        InputError: it cannot be read or written.
    """
    try:
        if out.exists() and not out.is_dir():
            raise ConfigError(f"{out} must be a folder, got a file; name another folder")
        known = any((masks / name).is_file() for name in (MANIFEST, PARTIAL))
        if out.is_dir() and any(out.iterdir()) and not known:
            raise ConfigError(
                f"{out} must be empty or hold an earlier demo, got other files; name another folder"
            )
        # Without its manifest a picture counts as not done: the demo is to show the work.
        (masks / MANIFEST).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{out}: output folder cannot be used ({error.strerror})") from error


def _mean(scores: list[ObjectScore]) -> tuple[float, float]:
    ious, boundary_ious = zip(*((s.iou, s.boundary_iou) for s in scores), strict=True)
    return float(np.mean(ious)), float(np.mean(boundary_ious))


def _score(
    name: str, coarse: list[ObjectScore], refined: list[ObjectScore], seconds: float
) -> PictureScore:
    return PictureScore(
        name=name,
        objects=len(coarse),
        coarse=_mean(coarse),
        refined=_mean(refined),
        seconds=seconds,
    )


@dataclass(frozen=True, kw_only=True)
class NetworkDemo:
    """The result of ``run_network_demo``.

    Attributes:
        result: of labelling, refining and, with ground truth, scoring.
        found: name of a class to the number of pictures that show it, most frequent first.
        sheet: the contact sheet, a PNG; None if no picture could be refined.
    """

    result: RunResult
    found: dict[str, int]
    sheet: Path | None


def load_demo(
    vocabulary: str, source: str | Path | None = None, overrides: Sequence[str] = ()
) -> RunOptions:
    """Return the settings of all three steps; ``run.yaml`` of an earlier demo will do.

    Raises:
        ConfigError: a setting is not known or out of range.
    """
    model = ["coarse.model=imagenet", f"coarse.vocabulary={vocabulary}"]
    return load_run(source, [*model, *overrides])


def run_network_demo(
    photos: Path,
    out: Path,
    options: RunOptions,
    *,
    target: Path | None = None,
    show: Show = lambda total, verb: nullcontext(lambda outcome: None),
) -> NetworkDemo:
    """Label photographs with the ImageNet network, refine the masks, score and draw them.

    Args:
        photos: folder of pictures.
        out: gets ``coarse``, ``refined``, ``demo.png`` and what ``run_all`` writes.
        options: as from ``load_demo``.
        target: folder of ground truth in the ids of the vocabulary, or None.
        show: how outcomes are shown.

    Raises:
        ConfigError: ``out`` holds other results, or a setting is wrong.
        InputError: no pictures, no such vocabulary, or ground truth does not fit.
        BackendError: the network's packages are missing.
    """
    words = read_vocabulary(str(options.coarse.settings["vocabulary"]))
    result = run_all(photos, out, options, target=target, show=show)
    found: dict[str, int] = {}
    panels: list[Panels] = []
    for sample in find_pictures(photos)[0]:
        if sample.name in result.failures or sample.image is None:
            continue
        coarse, refined = (
            read_labels(out / step / f"{sample.name}.png").labels for step in ("coarse", "refined")
        )
        names = _names(refined, words)
        found.update({name: found.get(name, 0) + 1 for name in names})
        if len(panels) < DRAWN:
            panels.append(
                Panels(
                    image=read_image(sample.image),
                    maps=(coarse, refined),
                    scores=(),
                    background=0 if words.background else None,
                    names=", ".join(names[:4]) or "no class found",
                )
            )
    sheet = out / "demo.png" if panels else None
    if sheet is not None:
        write_atomic(sheet, encode_sheet(panels))
    counted = dict(sorted(found.items(), key=lambda item: -item[1]))
    return NetworkDemo(result=result, found=counted, sheet=sheet)


def _names(labels: LabelMap, words: Vocabulary) -> list[str]:
    """Return the names of the classes of a map, the largest first."""
    ids, pixels = np.unique(labels, return_counts=True)
    first = int(words.background)
    ordered = ids[np.argsort(-pixels, kind="stable")].tolist()
    return [words.names[id_ - first] for id_ in ordered if id_ >= first]
