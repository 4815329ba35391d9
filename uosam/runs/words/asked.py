"""Points and boxes that a user asks about, from a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uosam.errors import InputError
from uosam.stages.segments import Segment
from uosam.structures import Backend, Caption, Embedding, Floats, Masks, Prompts
from uosam.text import without_suffix

POINT, BOX = ("x", "y"), ("x0", "y0", "x1", "y1")
_HEADER = "picture,x,y or picture,x0,y0,x1,y1 or all seven"


@dataclass(frozen=True, kw_only=True)
class Question:
    """A point or a box of one picture.

    Attributes:
        at: x, y of a point, or x0, y0, x1, y1 of a box, far edges exclusive, in pixels.
    """

    at: tuple[float, ...]

    @property
    def kind(self) -> str:
        """Return "point" or "box"."""
        return "point" if len(self.at) == len(POINT) else "box"


def read_questions(path: Path, names: Iterable[str]) -> dict[str, list[Question]]:
    """Read a table of points and boxes.

    Args:
        path: CSV with the columns picture, x, y for points, picture, x0, y0, x1, y1 for boxes, or
            all of them; a line fills one kind. A picture is named with or without its suffix.
        names: of the pictures there are.

    Returns:
        Questions by picture, in the order of the lines.

    Raises:
        InputError: no such file, a line that is no question, or a picture that is not there.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise InputError(f"{path}: expected a CSV of points or boxes, {reason}") from error
    reader = csv.DictReader(lines, skipinitialspace=True)
    columns = {column.strip() for column in reader.fieldnames or ()}
    if "picture" not in columns or not (set(POINT) <= columns or set(BOX) <= columns):
        raise InputError(
            f"{path}: the first line must be {_HEADER}, got {','.join(sorted(columns))!r}"
        )
    known = set(names)
    found: dict[str, list[Question]] = {}
    for number, raw in enumerate(reader, start=2):
        line = {(key or "").strip(): (value or "") for key, value in raw.items() if key}
        name = _find(line["picture"].strip(), known)
        if name is None:
            raise InputError(
                f"{path}, line {number}: there is no picture {line['picture']!r}; name one of the "
                f"folder, such as {min(known, default='none')!r}"
            )
        found.setdefault(name, []).append(_parse(path, number, line))
    return found


def _find(name: str, known: set[str]) -> str | None:
    return next((one for one in (name, without_suffix(name)) if one in known), None)


def _parse(path: Path, number: int, line: Mapping[str, str]) -> Question:
    for names in (POINT, BOX):
        texts = [line.get(name, "").strip() for name in names]
        if not all(texts):
            continue
        try:
            at = tuple(float(text) for text in texts)
        except ValueError:
            break
        wide = len(at) == len(POINT) or (at[0] < at[2] and at[1] < at[3])
        if wide and all(math.isfinite(value) for value in at):
            return Question(at=at)
    raise InputError(
        f"{path}, line {number}: expected numbers x, y of a point, or x0 < x1 and y0 < y1 of a "
        f"box, got {','.join(line.values())!r}"
    )


def check_inside(questions: Iterable[Question], hw: tuple[int, int]) -> None:
    """Refuse questions about what is not in the picture.

    Raises:
        InputError: a point lies outside, or a box does not touch the picture.
    """
    height, width = hw
    for one in questions:
        low, high = one.at[:2], one.at[-2:]
        if not (high[0] >= 0 and high[1] >= 0 and low[0] < width and low[1] < height):
            raise InputError(
                f"a {one.kind} must lie in the picture of {width} x {height} pixels, got "
                f"{', '.join(f'{value:g}' for value in one.at)}"
            )


def to_prompts(questions: list[Question], *, inclusive: bool) -> Prompts:
    """Turn questions of one kind into prompts.

    Args:
        questions: all points, or all boxes.
        inclusive: whether the far edges of boxes are the last pixel, as for a ``Backend``.
    """
    at: Floats = np.array([one.at for one in questions], np.float32)
    labels = np.zeros(len(questions), np.int32)
    if questions[0].kind == "point":
        ones = np.ones((len(at), 1), np.int8)
        return Prompts(points=at[:, None], point_labels=ones, labels=labels)
    at[:, 2:] -= inclusive
    return Prompts(
        points=np.zeros((len(at), 0, 2), np.float32),
        point_labels=np.zeros((len(at), 0), np.int8),
        boxes=at,
        labels=labels,
    )


def answer(questions: list[Question], embedding: Embedding, backend: Backend) -> Masks:
    """Find the mask of each question of one kind: the best scored answer.

    Returns:
        (M, H, W). Where the segmenter sees nothing, the box itself or the pixel of the point.
    """
    height, width = embedding.image_hw
    masks = np.zeros((len(questions), height, width), bool)
    found = backend.decode(embedding, to_prompts(questions, inclusive=True))
    best = np.full(len(questions), -np.inf)
    for index, row in enumerate(found.row.tolist()):
        if found.scores[index] > best[row] and found.masks[index].any():
            best[row] = found.scores[index]
            masks[row] = found.masks[index]
    for mask, one in zip(masks, questions, strict=True):
        if not mask.any():
            x0, y0 = (max(0, math.floor(value)) for value in one.at[:2])
            x1, y1 = (x0, y0) if one.kind == "point" else (math.ceil(v) for v in one.at[2:])
            mask[y0 : max(y0 + 1, y1), x0 : max(x0 + 1, x1)] = True
    return masks


def caption_points(
    captioner: Any, embedding: Embedding, segments: Sequence[Segment]
) -> list[Caption]:
    """Caption the point behind each segment once, whichever of its masks are left.

    Args:
        captioner: with ``caption_prompts``, such as SCA.
        embedding: of the picture, by the captioner's own segmenter.
        segments: of everything mode.
    """
    points = sorted({segment.point for segment in segments})
    prompts = to_prompts([Question(at=point) for point in points], inclusive=False)
    found = dict(zip(points, captioner.caption_prompts(embedding, prompts), strict=True))
    return [found[segment.point] for segment in segments]
