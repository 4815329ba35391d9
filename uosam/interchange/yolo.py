"""YOLO segmentation: a text file of polygons for each picture (docs.ultralytics.com/datasets).

A line is a class and the points x, y of one piece as parts of width and height. Polygons have no
holes, so these hang on by a cut of no width; ignored pixels have no word and become background.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
import yaml

from uosam.errors import InputError, reason_of
from uosam.interchange.legend import (
    Files,
    Labelled,
    Legend,
    check_size,
    make_legend,
    read_sidecar,
)
from uosam.interchange.shapes import check_outline, fill, keyholes
from uosam.structures import IGNORE

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def encode(pictures: Iterable[Labelled], legend: Legend, tolerance: float) -> Files:
    """Return ``data.yaml`` and a text for each picture; classes count from 0 in order of id."""
    titles = legend.titles
    numbers = {label: number for number, label in enumerate(legend.ids)}
    document = {
        "path": ".",
        "train": "images",
        "val": "images",
        "names": {number: titles[label] for label, number in numbers.items()},
    }
    yield PurePosixPath("data.yaml"), yaml.safe_dump(document, sort_keys=False).encode()
    for picture in pictures:
        height, width = picture.labels.shape
        lines = []
        for label in np.unique(picture.labels).tolist():
            if label in (legend.background, IGNORE):
                continue
            for outline in keyholes(picture.labels == label, tolerance):
                # Seven digits bring every pixel of a wide picture back.
                points = (outline / (width, height)).ravel()
                lines.append(" ".join([str(numbers[label]), *(f"{v:.7g}" for v in points)]))
        text = "".join(line + "\n" for line in lines)
        yield PurePosixPath("labels", f"{picture.name}.txt"), text.encode()


def decode(source: Path, known: Mapping[str, int] | None) -> tuple[Legend, Iterator[Labelled]]:
    """Read the label maps of a folder with ``data.yaml``, ``labels`` and ``images``.

    The pictures tell the sizes. Boxes are painted as what they are, rectangles; where polygons
    overlap the later one is on top.

    Args:
        source: the folder.
        known: name to id, or None.

    Raises:
        InputError: no such folder, or a file in it is none of YOLO.
    """
    names = _names(source / "data.yaml")
    kept = read_sidecar(source)
    if kept is not None and known is None:
        legend, ids = kept
        known = ids
    else:
        legend, ids = make_legend(names, known=known)
    missing = [name for name in names if name not in ids]
    if missing:
        raise InputError(f"{source}: class {missing[0]!r} of data.yaml is not in uosam.json")
    numbers = [ids[name] for name in names]
    # Tools put the list of classes among the labels.
    files = sorted(
        path for path in (source / "labels").rglob("*.txt") if path.name != "classes.txt"
    )
    if not files:
        raise InputError(f"{source}: expected text files in {source / 'labels'}, found none")
    canvas = IGNORE if legend.background is None else legend.background

    def read() -> Iterator[Labelled]:
        for path in files:
            name = path.relative_to(source / "labels").with_suffix("").as_posix()
            file, hw = _picture(source / "images", name)
            labels = np.full(hw, canvas, np.int32)
            for line in path.read_text("utf-8", errors="replace").splitlines():
                if line.strip():
                    number, outline = _parse(line, hw, len(numbers), str(path))
                    labels[fill([outline], hw)] = numbers[number]
            yield Labelled(name=name, file=file, labels=labels)

    return legend, read()


def _names(path: Path) -> list[str]:
    try:
        names = yaml.safe_load(path.read_bytes())["names"]
        if isinstance(names, dict):
            numbers = {int(str(key)): name for key, name in names.items()}
            if sorted(numbers) != list(range(len(names))):
                raise TypeError(f"class numbers {sorted(numbers)}, not 0 to {len(names) - 1}")
            names = [numbers[number] for number in range(len(names))]
        if not isinstance(names, list):
            raise TypeError(f"names {names!r}")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        reason = reason_of(error)
        raise InputError(f"{path}: expected YAML with 'names' of classes, got: {reason}") from error
    return [str(name) for name in names]


def _picture(folder: Path, name: str) -> tuple[str, tuple[int, int]]:
    for suffix in _PICTURES:
        path = folder / f"{name}{suffix}"
        if path.is_file():
            try:
                with PIL.Image.open(path) as file:
                    return f"{name}{suffix}", check_size(file.height, file.width, str(path))
            except (OSError, PIL.Image.DecompressionBombError) as error:
                raise InputError(f"{path}: picture is damaged ({reason_of(error)})") from error
    raise InputError(
        f"{folder / name}: expected the picture, whose size the polygons are parts of, found none"
    )


def _parse(
    line: str, hw: tuple[int, int], classes: int, where: str
) -> tuple[int, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Return class and outline of a line in pixels."""
    first, *rest = line.split()
    try:
        number, values = int(first), [float(value) for value in rest]
    except ValueError:
        number, values = -1, []
    if not 0 <= number < classes or len(values) < 4:
        raise InputError(
            f"{where}: expected a class from 0 to {classes - 1} and a polygon or box, got "
            f"{line[:60]!r}"
        )
    if len(values) in (4, 5):  # centre, size, and maybe how sure
        x, y, width, height = values[:4]
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        values = [left, top, right, top, right, bottom, left, bottom]
    if len(values) % 2:
        raise InputError(f"{where}: expected pairs x, y, got {len(values)} numbers")
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        points = np.reshape(values, (-1, 2)) * (hw[1], hw[0])
    return number, check_outline(points, where)
