"""Label Studio: one JSON of tasks with brush masks, exact (labelstud.io/guide/export).

Its run lengths are those of the package rle-pack: runs and single values with lengths of four
widths, bit by bit, over the four equal channels of a picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from uosam.errors import InputError
from uosam.interchange.legend import (
    IGNORED,
    SIDECAR,
    Files,
    Labelled,
    Legend,
    check_name,
    check_size,
    make_legend,
    read_json,
    read_sidecar,
)
from uosam.structures import IGNORE, Mask
from uosam.text import without_suffix

FILE = "tasks.json"
_LOCAL = "/data/local-files/?d="
"""How Label Studio addresses pictures of its local storage."""
_WIDTHS = (3, 4, 8, 16)


def encode(pictures: Iterable[Labelled], legend: Legend) -> Files:
    """Return ``tasks.json`` and the labelling interface for the project's settings."""
    titles = {**legend.titles, IGNORE: IGNORED}
    tasks, ignored = [], False
    for number, picture in enumerate(pictures, start=1):
        height, width = picture.labels.shape
        result = []
        for label in np.unique(picture.labels).tolist():
            if label == legend.background:
                continue
            ignored |= label == IGNORE
            result.append(
                {
                    "id": f"{number}-{label}",
                    "type": "brushlabels",
                    "from_name": "mask",
                    "to_name": "image",
                    "origin": "manual",
                    "image_rotation": 0,
                    "original_width": width,
                    "original_height": height,
                    "value": {
                        "format": "rle",
                        "rle": encode_brush(picture.labels == label),
                        "brushlabels": [titles[label]],
                    },
                }
            )
        tasks.append(
            {
                "id": number,
                "data": {"image": _LOCAL + quote(picture.file, safe="/")},
                "annotations": [{"result": result, "ground_truth": False}],
            }
        )
    yield PurePosixPath(FILE), (json.dumps(tasks) + "\n").encode()
    names = [titles[i] for i in legend.ids] + [IGNORED] * ignored
    yield PurePosixPath("interface.xml"), _interface(names).encode()


def _interface(names: Sequence[str]) -> str:
    from xml.sax.saxutils import quoteattr

    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in names)
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <BrushLabels name="mask" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
    )


def encode_brush(mask: Mask) -> list[int]:
    """Return Label Studio's run lengths of an (H, W) mask, as its own SDK writes them.

    >>> encode_brush(np.array([[0, 1], [1, 1]], bool))
    [0, 0, 0, 16, 57, 27, 252, 96, 22, 255, 192]
    """
    flat = np.repeat(mask.ravel(), 4)
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), len(flat) - 1)
    runs = np.diff(np.append(-1, ends)).tolist()
    value = bool(flat[0])
    bits = [f"{len(flat):032b}{7:05b}", *(f"{width - 1:04b}" for width in _WIDTHS)]
    for run in runs:
        byte = "1" * 8 if value else "0" * 8
        while run:
            step = min(run, 1 << 16)
            kind = next(k for k, width in enumerate(_WIDTHS) if step <= 1 << width)
            bits.append(f"1{kind:02b}{step - 1:0{_WIDTHS[kind]}b}{byte}")
            run -= step
        value = not value
    text = "".join(bits)
    text += "0" * (8 - len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(rle: Any, hw: tuple[int, int], where: str) -> Mask:
    """Return the (H, W) mask of Label Studio's run lengths: where the fourth channel is not 0.

    Args:
        rle: list of bytes.
        hw: size of the picture.
        where: name of the file, for messages.

    Raises:
        InputError: they are no run lengths of a picture of this size.
    """
    try:
        data = bytes(rle)
        bits = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}"
        place = 0

        def read(count: int) -> int:
            nonlocal place
            place += count
            if place > len(bits):
                raise ValueError("they break off")
            return int(bits[place - count : place], 2)

        total = read(32)
        if total != 4 * hw[0] * hw[1]:
            raise ValueError(f"{total} values for 4 channels of {hw[0]} x {hw[1]}")
        word = read(5) + 1
        widths = [read(4) + 1 for _ in range(4)]
        values = np.zeros(total, np.bool_)
        at = 0
        while at < total:
            is_run = read(1)
            end = min(total, at + 1 + read(widths[read(2)]))
            if is_run:
                values[at:end] = read(word) > 0
            else:
                for index in range(at, end):
                    values[index] = read(word) > 0
            at = end
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: expected run lengths of Label Studio for a picture of {hw} (H, W), got: "
            f"{error}"
        ) from error
    return values.reshape(*hw, 4)[..., 3]


def decode(source: Path, known: Mapping[str, int] | None) -> tuple[Legend, Iterator[Labelled]]:
    """Read the label maps of the brush masks in an export of Label Studio.

    Later masks lie over earlier ones; of several annotations of a task the first is taken.

    Args:
        source: JSON file, or the folder that ``encode`` filled.
        known: name to id, or None.

    Raises:
        InputError: no such file, or none of this kind.
    """
    path = source / FILE if source.is_dir() else source
    tasks = _tasks(path)
    kept = read_sidecar(path.parent) if path.name == FILE else None
    if kept is not None and known is None:
        legend, ids = kept
    else:
        names = [name for _, results in tasks for name, _ in results if name != IGNORED]
        legend, ids = make_legend(names, known=known)
    canvas = IGNORE if legend.background is None else legend.background

    def read() -> Iterator[Labelled]:
        for file, results in tasks:
            if not results:
                continue  # nothing tells the size of the picture
            hw = check_size(
                results[0][1].get("original_height"), results[0][1].get("original_width"), str(path)
            )
            labels = np.full(hw, canvas, np.int32)
            for name, result in results:
                if name != IGNORED and name not in ids:
                    raise InputError(f"{path}: class {name!r} is not in {SIDECAR}; remove that")
                rle = result["value"].get("rle")
                mask = decode_brush(rle, hw, f"{path}: {file}")
                labels[mask] = IGNORE if name == IGNORED else ids[name]
            yield Labelled(name=without_suffix(file), file=file, labels=labels)

    return legend, read()


def _tasks(path: Path) -> list[tuple[str, list[tuple[str, Mapping[str, Any]]]]]:
    """Return the picture of each task, and its brush masks with their names."""
    document = read_json(path)
    try:
        tasks = []
        for task in document:
            address = urlsplit(task["data"]["image"])
            inside = parse_qs(address.query).get("d", [unquote(address.path).lstrip("/")])[0]
            notes = task.get("annotations") or task.get("predictions") or [{"result": []}]
            results = [
                (str(result["value"]["brushlabels"][0]), result)
                for result in notes[0]["result"]
                if result["type"] == "brushlabels"
            ]
            tasks.append((check_name(inside, str(path)), results))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"{path}: expected JSON of Label Studio, a list of tasks with 'data' and "
            f"'annotations', got {error!r}"
        ) from error
    return tasks
