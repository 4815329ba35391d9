"""Refined masks and their confidence as labels to train on: ``uosam export --to pseudo``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from uosam.config import load_config
from uosam.errors import ConfigError, InputError, UosamError, unknown
from uosam.interchange.legend import SIDECAR, encode_sidecar
from uosam.interchange.pixels import read_ids
from uosam.interchange.pseudo.calibration import calibrate, packaged
from uosam.interchange.pseudo.labels import Pseudo, PseudoOptions, Tally, make_pseudo
from uosam.interchange.pseudo.layouts import ENCODERS, LAYOUTS, Example
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.outputs import check_folders
from uosam.runs.exchange.export import Handed, prepare, write
from uosam.runs.exchange.masks import MaskFolder, open_masks
from uosam.structures import Floats, LabelMap, Sample
from uosam.text import explain

RANKING = "ranking.csv"


def export_pseudo(
    source: Path,
    out: Path,
    images: Path,
    options: PseudoOptions,
    *,
    layout: str = "mmseg",
    confidence: Path | None = None,
    names: Mapping[int, str] | None = None,
    labels: LabelOptions | None = None,
    overwrite: bool = False,
) -> Handed:
    """Write the masks of a folder as pseudo-labels, with ``ranking.csv`` of the pictures.

    Args:
        source: output of ``uosam refine``.
        out: new or empty, or that of an earlier export with ``overwrite``.
        images: folder of the pictures.
        options: what is left out.
        layout: "mmseg", "imagenet-s" or "hf".
        confidence: folder of the confidence maps that ``uosam refine --confidence`` wrote; None
            for where the run of ``source`` wrote them.
        names: id to class name.
        labels: how masks are read; None takes that of the run that wrote them.
        overwrite: replace files of an earlier export.

    Raises:
        InputError: a folder is missing or without masks, no confidence is found, or the layout
            cannot hold these ids.
        ConfigError: unknown layout, or ``out`` not empty or in the way.
    """
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    maps = confidence or _written_by(source)
    if maps is None or not maps.is_dir():
        where = "none is recorded in its config.yaml" if maps is None else f"found none at {maps}"
        raise InputError(
            f"{source}: expected a folder of confidence maps, {where}; run uosam refine with "
            "--confidence DIR, and give it here as --confidence DIR"
        )
    prepare(out, [source, images, maps], overwrite=overwrite)
    check_folders({"output": out}, [maps])
    folder = open_masks(source, images=images, names=names, labels=labels)
    tally = Tally()
    good = []
    for sample in folder.samples:
        try:
            ids, sure = _read(folder, sample, maps, options)
        except InputError as error:
            folder.failures[str(sample.coarse)] = explain(error)
            continue
        tally.add(ids, sure)
        good.append(sample)
    if not good:
        path, why = next(iter(folder.failures.items()))
        raise InputError(f"no mask can be used: {path}: {why}")
    suffixes = sorted({Path(folder.files[sample.name]).suffix for sample in good})
    if layout == "mmseg" and len(suffixes) > 1:
        raise InputError(
            f"{images}: mmsegmentation takes pictures of one suffix, got {' and '.join(suffixes)}; "
            "convert them, or use --layout hf"
        )
    thresholds = tally.thresholds(options)
    rows: list[tuple[str, Pseudo, int]] = []
    background = folder.legend.background

    def examples() -> Iterator[Example]:
        for sample in good:
            assert sample.image is not None
            try:
                ids, sure = _read(folder, sample, maps, options)
                picture = sample.image.read_bytes()
            except (UosamError, OSError) as error:
                folder.failures[str(sample.coarse)] = explain(error)
                continue
            found = make_pseudo(ids, sure, thresholds, options, background)
            classes = len(set(np.unique(ids).tolist()) - {-1, background})
            rows.append(
                (sample.name, replace(found, confidence=np.zeros((0, 0), np.float32)), classes)
            )
            yield Example(
                name=sample.name, file=folder.files[sample.name], picture=picture, pseudo=found
            )

    for relative, data in ENCODERS[layout](examples(), folder.legend):
        write(out / relative, data)
    write(out / RANKING, _ranking(rows))
    write(out / SIDECAR, encode_sidecar(folder.legend, f"pseudo-{layout}")[1])
    eased = [label for label, least in thresholds.items() if least < options.min_confidence]
    notes = list(folder.notes)
    if eased:
        titles = folder.legend.titles
        some = ", ".join(titles.get(label, "background") for label in eased[:5]) + (
            ", ..." if eased[5:] else ""
        )
        notes.append(
            f"{len(eased)} classes keep their surest {100 * options.keep:g} % below the threshold: "
            f"{some}"
        )
    if options.calibrated:
        notes.append(f"confidence is calibrated ({packaged().facts})")
    return Handed(count=len(rows), failures=folder.failures, notes=tuple(notes))


def _written_by(source: Path) -> Path | None:
    try:
        written = load_config(source / "config.yaml").engine.confidence
    except ConfigError:
        return None
    return Path(written) if written else None


def _read(
    folder: MaskFolder, sample: Sample, maps: Path, options: PseudoOptions
) -> tuple[LabelMap, Floats]:
    """Read labels and confidence of one picture."""
    assert sample.coarse is not None
    file = read_with(sample.coarse, folder.labels)
    path = maps / f"{sample.name}.png"
    stored = read_ids(path)
    if stored.shape != file.labels.shape or stored.max(initial=0) > 255:
        raise InputError(
            f"{path}: expected a confidence map of 8 bits and {file.labels.shape}, got "
            f"{stored.shape} up to {stored.max(initial=0)}"
        )
    sure = (stored / 255).astype(np.float32)
    if options.calibrated:
        sure = calibrate(sure, file.labels, folder.legend.background, packaged())
    return file.labels, sure


def _ranking(rows: list[tuple[str, Pseudo, int]]) -> bytes:
    """Return the table of pictures, best first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["rank", "name", "weight", "kept", "classes"])
    order = sorted(rows, key=lambda row: (-row[1].weight, row[0]))
    for rank, (name, found, classes) in enumerate(order, start=1):
        writer.writerow([rank, name, f"{found.weight:.4f}", f"{found.kept:.4f}", classes])
    return buffer.getvalue().encode()
