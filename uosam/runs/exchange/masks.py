"""A folder of masks as the formats want it: one label map at a time, and what the ids mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from uosam.config import load_config
from uosam.errors import InputError, UosamError
from uosam.interchange.legend import Labelled, Legend
from uosam.io.binary import settle_labels
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.images import read_image
from uosam.io.mismatch import require_pairs
from uosam.io.pairs import find_pairs
from uosam.io.stored import MASK_SUFFIXES
from uosam.io.walk import list_files
from uosam.regions.tables import read_csv
from uosam.structures import IGNORE, Sample
from uosam.text import explain, without_suffix

_PICTURE = ".jpg"
"""Suffix that pictures are taken to have where nobody gave them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskFolder:
    """What was found of masks to hand on.

    Attributes:
        samples: with a mask each, and with a picture if there is a folder of them.
        files: relative path of each picture by name.
        labels: how the masks are read.
        legend: of all of them.
        failures: reason by file.
        notes: what a reader must know.
    """

    samples: list[Sample]
    files: Mapping[str, str]
    labels: LabelOptions
    legend: Legend
    failures: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def read(self) -> Iterator[Labelled]:
        """Yield the label map of every mask; one that fails now joins the failures."""
        for sample in self.samples:
            assert sample.coarse is not None
            try:
                labels = read_with(sample.coarse, self.labels).labels
            except InputError as error:
                self.failures[str(sample.coarse)] = explain(error)
                continue
            yield Labelled(name=sample.name, file=self.files[sample.name], labels=labels)


def open_masks(
    source: Path,
    *,
    images: Path | None = None,
    names: Mapping[int, str] | None = None,
    labels: LabelOptions | None = None,
) -> MaskFolder:
    """Look through a folder of masks: which ids there are, and which files cannot be read.

    Args:
        source: folder of masks, such as the output of ``uosam refine``; its ``config.yaml`` says
            how masks are read where ``labels`` does not.
        images: folder of the pictures, which must have the size of their masks, or None.
        names: id to class name.
        labels: how masks are read; None takes that of the run that wrote them.

    Raises:
        InputError: a folder is missing, holds no masks, or none that belongs to a picture.
    """
    if not source.is_dir():
        raise InputError(f"{source}: expected a folder of masks, found none")
    failures: dict[str, str] = {}
    if images is None:
        found = list_files(source, MASK_SUFFIXES, failures)
        samples = [
            Sample(name=without_suffix(file.as_posix()), coarse=source / file) for file in found
        ]
        files = {sample.name: sample.name + _PICTURE for sample in samples}
    else:
        pairs = find_pairs(images, source)
        require_pairs(pairs, images, source)
        failures |= pairs.unreadable
        samples = list(pairs.samples)
        for mask in pairs.unpaired_masks:
            failures[str(mask)] = f"no picture of this name in {images}"
        files = {s.name: s.name + s.image.suffix for s in samples if s.image is not None}
    if not samples:
        raise InputError(f"{source}: expected masks ({', '.join(MASK_SUFFIXES)}), found none")
    options, notes = settle_labels(labels or written_with(source), samples)
    present: set[int] = set()
    background: set[int | None] = set()
    good = []
    for sample in samples:
        assert sample.coarse is not None
        try:
            file = read_with(sample.coarse, options)
            if sample.image is not None and read_image(sample.image).shape[:2] != file.labels.shape:
                raise InputError(f"{sample.coarse}: is not of the size of {sample.image}")
        except (UosamError, OSError) as error:
            failures[str(sample.coarse)] = explain(error)
            continue
        present.update(np.unique(file.labels).tolist())
        background.add(file.spec.background)
        good.append(sample)
    if not good:
        path, why = next(iter(failures.items()))
        raise InputError(f"no mask can be read: {path}: {why}")
    rest = background.pop()
    kept = {i: name for i, name in (names or {}).items() if i != rest and i >= 0}
    ids = tuple(sorted((present | set(kept)) - {IGNORE, rest}))
    return MaskFolder(
        samples=good,
        files=files,
        labels=options,
        legend=Legend(ids=ids, names=kept, background=rest),
        failures=failures,
        notes=notes,
    )


def written_with(folder: Path) -> LabelOptions:
    """Return how the run that wrote a folder read its masks; the defaults if none tells."""
    try:
        options = load_config(folder / "config.yaml").labels
    except UosamError:
        return LabelOptions()
    return replace(options, scores=None)


def read_names(path: Path) -> dict[int, str]:
    """Read class names: a table with columns id and name, or text with a line for each id from 1.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".csv":
            return read_csv(data, str(path))
        lines = data.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a text file of class names, got {error}") from error
    return {i: line.strip() for i, line in enumerate(lines, start=1) if line.strip()}
