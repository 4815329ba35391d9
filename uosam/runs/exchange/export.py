"""Write a folder of masks in another tool's format, and read such files as a folder of masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uosam.errors import ConfigError, InputError
from uosam.interchange.formats import TOLERANCE, find_format
from uosam.interchange.legend import SIDECAR, Labelled, encode_sidecar
from uosam.io.atomic import write_atomic
from uosam.io.codecs import LabelOptions, encode_labels
from uosam.io.outputs import check_folders, check_outputs
from uosam.runs.exchange.masks import MaskFolder, open_masks
from uosam.structures import LabelSpec
from uosam.text import explain, one_line


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What became of a folder.

    Attributes:
        count: pictures that were written.
        failures: reason by file.
        notes: what a reader must know.
    """

    count: int
    failures: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def describe(self) -> list[str]:
        """Return the lines of a summary."""
        lines = [f"{'pictures':<18} {self.count}", f"{'failed':<18} {len(self.failures)}"]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"failed: {name}: {why}" for name, why in self.failures.items()]
        return [one_line(line) for line in lines]


def export_folder(
    source: Path,
    out: Path,
    form: str,
    *,
    images: Path | None = None,
    names: Mapping[int, str] | None = None,
    tolerance: float | None = None,
    labels: LabelOptions | None = None,
    link: bool = False,
    overwrite: bool = False,
) -> Handed:
    """Write the masks of a folder into ``out`` in the format ``form``.

    Args:
        source: folder of masks.
        out: new or empty, or that of an earlier export with ``overwrite``.
        form: key of ``FORMATS``.
        images: folder of the pictures; formats that keep pictures beside masks need it.
        names: id to class name.
        tolerance: pixels within which polygons are made simpler; None for the format's own.
        labels: how masks are read; None takes that of the run that wrote them.
        link: link pictures instead of copying them.
        overwrite: replace files of an earlier export.

    Raises:
        InputError: a folder is missing or without masks, or the format cannot hold these ids.
        ConfigError: unknown format, tolerance below 0 or of no use, ``out`` not empty or in the
            way, or no pictures for a format that keeps them.
    """
    kind = find_format(form)
    if tolerance is not None and not 0 <= tolerance < 1000:
        raise ConfigError(f"the tolerance must be pixels from 0 to 1000, got {tolerance:g}")
    if tolerance and not kind.polygons and form != "cvat":
        raise ConfigError(f"--to {form} is exact and has no polygons; leave out the tolerance")
    if kind.pictures is not None and images is None:
        raise ConfigError(f"--to {form} keeps pictures beside the masks; give --images FOLDER")
    prepare(out, [source, *([images] if images else [])], overwrite=overwrite)
    folder = open_masks(source, images=images, names=names, labels=labels)
    within = tolerance if tolerance is not None else TOLERANCE * kind.polygons
    count = 0

    def counted() -> Iterator[Labelled]:
        nonlocal count
        for picture in folder.read():
            count += 1
            yield picture

    if kind.pictures is not None:
        copy_pictures(folder, out / kind.pictures, link=link)
    for path, data in kind.encode(counted(), folder.legend, within):
        write(out / path, data)
    write(out / SIDECAR, encode_sidecar(folder.legend, form)[1])
    notes = list(folder.notes)
    if kind.polygons or (form == "cvat" and within):
        notes.append(f"polygons lie within {within:g} pixels of the outlines")
    if not kind.keeps_ignore:
        notes.append(f"{form} has no word for ignored pixels; they count as background")
    return Handed(count=count, failures=folder.failures, notes=tuple(notes))


def import_folder(
    source: Path,
    out: Path,
    form: str,
    *,
    names: Mapping[int, str] | None = None,
    overwrite: bool = False,
) -> Handed:
    """Read another tool's files and write a folder of masks, with ``names.csv`` of their classes.

    Masks are 8-bit grey PNG, 16-bit where ids need it, ``.npy`` beyond that.

    Args:
        source: file or folder, as the tool exports it.
        out: new or empty, or that of an earlier import with ``overwrite``.
        form: key of ``FORMATS``.
        names: id to class name, for files that only know names; None numbers them.
        overwrite: replace files of an earlier import.

    Raises:
        InputError: the source is missing, damaged or of another format.
        ConfigError: unknown format, or ``out`` not empty or in the way.
    """
    kind = find_format(form)
    if not source.exists():
        raise InputError(f"{source}: expected files of {form}, found none")
    known = None if names is None else {name: i for i, name in names.items()}
    legend, pictures = kind.decode(source, known)
    prepare(out, [source] if source.is_dir() else [], overwrite=overwrite)
    largest = max([0, *legend.ids, legend.background or 0])
    if largest < 255:
        suffix, spec = ".png", LabelSpec(codec="index8", ignore=255)
    elif largest < 65535:
        suffix, spec = ".png", LabelSpec(codec="index16", ignore=65535)
    else:
        suffix, spec = ".npy", LabelSpec(codec="npy", ignore=-1, dtype="int32")
    count, seen = 0, set[str]()
    for picture in pictures:
        if picture.name in seen:
            raise InputError(
                f"{source}: {picture.file!r} comes twice, or differs in its suffix alone from "
                "another; give each picture a name of its own"
            )
        seen.add(picture.name)
        path = out / f"{picture.name}{suffix}"
        check_outputs([(path, picture.file)], [], root=out)
        write(path, encode_labels(suffix, picture.labels, spec))
        count += 1
    notes = []
    if legend.names:
        table = io.StringIO("id,name\n")
        table.seek(0, io.SEEK_END)
        writer = csv.writer(table, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerows(legend.names.items())
        write(out / "names.csv", table.getvalue().encode())
        notes.append(f"class names are in {out / 'names.csv'}")
    if legend.background is None:
        notes.append("every id is a class; say --background none when the masks are used")
    return Handed(count=count, notes=tuple(notes))


def prepare(out: Path, inputs: list[Path], *, overwrite: bool) -> None:
    """Refuse a folder that is, or lies in, an input, or holds files already.

    Raises:
        ConfigError: which of these it is.
    """
    check_folders({"output": out}, inputs)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; give a folder")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise ConfigError(f"{out} is not empty; give another folder, or --overwrite")


def copy_pictures(folder: MaskFolder, out: Path, *, link: bool) -> None:
    """Copy the pictures, or link to them, under the names that the masks have."""
    for sample in folder.samples:
        if sample.image is None:
            continue
        path = out / folder.files[sample.name]
        try:
            if link:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.symlink_to(sample.image.resolve())
            else:
                write_atomic(path, sample.image.read_bytes())
        except OSError as error:
            folder.failures[str(sample.image)] = explain(error)


def write(path: Path, data: bytes) -> None:
    """Write a file whole.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_atomic(path, data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
