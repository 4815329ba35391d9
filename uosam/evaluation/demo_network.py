"""The second demo: masks of a real network on anybody's photographs, refined, scored and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uosam.datasets.vocabulary import Vocabulary, read_vocabulary
from uosam.evaluation.chain import RunOptions, RunResult, Show, load_run, run_all
from uosam.io.atomic import write_atomic
from uosam.io.codecs import read_labels
from uosam.io.images import read_image
from uosam.io.pairs import find_pictures
from uosam.report.sheet import Panels, encode_sheet
from uosam.structures import LabelMap

DRAWN = 12
"""Pictures on the sheet at most, the first in order of name."""


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
