"""Draw what ``name_folder`` found: ``index.html`` and ``sheet.png``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from uosam.errors import InputError
from uosam.io.images import fetch_image
from uosam.regions.crops import masked_view
from uosam.report.names import (
    Row,
    encode_names_page,
    encode_names_sheet,
    legend,
    thumbnail,
)
from uosam.runs.naming.regions import Looked, region_of, write_file
from uosam.runs.naming.vote import Named
from uosam.structures import Image, Sample

BEST, WORST = 12, 4
"""Regions shown of each id: those that fit its name best, and least."""

_WHITE = (255, 255, 255)


def draw_names(named: Named, samples: Sequence[Sample], out: Path) -> None:
    """Write ``index.html`` and ``sheet.png`` into ``out``.

    Raises:
        InputError: they cannot be written.
    """
    picked: dict[int, tuple[list[int], list[int]]] = {}
    labels = np.array([region.label for region in named.regions])
    for label, name in named.clusters.items():
        column = named.words.names.index(name.best[0][0])
        inside = np.flatnonzero(labels == label)
        order = inside[np.argsort(-named.found[inside, column], kind="stable")].tolist()
        picked[label] = order[:BEST], order[BEST:][-WORST:]
    wanted = sorted({index for pair in picked.values() for part in pair for index in part})
    thumbs = _cut(named.regions, wanted, samples)
    rows = [
        Row(
            label=label,
            name=named.clusters[label],
            best=[thumbs[index] for index in best if index in thumbs],
            worst=[thumbs[index] for index in worst if index in thumbs],
        )
        for label, (best, worst) in picked.items()
    ]
    texts = legend(named.clusters)
    write_file(out / "index.html", encode_names_page(rows, texts, named.notes))
    write_file(out / "sheet.png", encode_names_sheet(rows, texts))


def _cut(
    regions: Sequence[Looked], wanted: Sequence[int], samples: Sequence[Sample]
) -> dict[int, Image]:
    """Read each picture once, and cut out the regions that are shown of it."""
    paths = {sample.name: sample.image for sample in samples}
    by_picture: dict[str, list[int]] = defaultdict(list)
    for index in wanted:
        by_picture[regions[index].picture].append(index)
    found: dict[int, Image] = {}
    for name, indices in by_picture.items():
        path = paths[name]
        if path is None:
            continue
        try:
            image = fetch_image(path)
        except (InputError, OSError):  # gone since it was looked at
            continue
        for index in indices:
            region = region_of(regions[index])
            found[index] = thumbnail(masked_view(image, region, _WHITE))
    return found
