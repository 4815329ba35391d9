"""Lay out a split of a data set as two folders of the same names, which every command reads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from uosam.datasets.facts import FACTS
from uosam.datasets.layouts import list_samples, recognise
from uosam.errors import ConfigError, InputError


@dataclass(frozen=True, kw_only=True)
class Linked:
    """What was laid out.

    Attributes:
        dataset: key of ``DATASETS``.
        split: of the data set.
        images: folder of links to pictures.
        targets: folder of links to ground truth, or None for a split without.
        count: pictures.
    """

    dataset: str
    split: str
    images: Path
    targets: Path | None
    count: int


def link_data(
    root: Path, out: Path, *, dataset: str | None = None, split: str | None = None
) -> Linked:
    """Link the pictures and ground truth of a split into ``out/images`` and ``out/gt``.

    Only what the split lists is linked: of COCO-Stuff the curated pictures, of VOC those of its
    set. A picture and its ground truth get the same name.

    Args:
        root: folder of the data set.
        out: new or empty folder.
        dataset: key of ``DATASETS``; None recognises it from the folder.
        split: None for the one that is evaluated.

    Raises:
        InputError: the data set is not recognised or without pictures, a partner is missing, or
            links cannot be made.
        ConfigError: ``out`` is not empty, or no such data set or split.
    """
    name = dataset or recognise(root)
    facts = FACTS.get(name)
    split = split or (facts.split if facts else "val")
    labelled = facts is None or split not in facts.unlabelled
    samples = list_samples(name, root, split)
    lacking = [
        sample.name for sample in samples if not sample.image or (labelled and not sample.target)
    ]
    if lacking or not samples:
        named = f"{len(lacking)} lack a partner, such as {lacking[0]}" if lacking else "none"
        raise InputError(
            f"{root}: the split {split} must have pictures, each with its ground truth, got "
            f"{named}; 'uosam data check {root} --split {split}' names all faults"
        )
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty; give a new folder for the links")
    images, targets = out / "images", out / "gt" if labelled else None
    for sample in samples:
        for folder, path in ((images, sample.image), (targets, sample.target)):
            if folder is not None and path is not None:
                _link(path, folder / f"{sample.name}{path.suffix}")
    return Linked(dataset=name, split=split, images=images, targets=targets, count=len(samples))


def _link(path: Path, link: Path) -> None:
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(path.resolve(), link)
    except OSError as error:
        raise InputError(
            f"{link}: a link to {path} cannot be made ({error.strerror}); give a folder on a file "
            "system with symbolic links"
        ) from error
