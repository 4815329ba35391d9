"""The contact sheet of the demo: picture, coarse, refined and true map in a row each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from uosam.report.overlay import draw_labels
from uosam.structures import IGNORE, Image, LabelMap

TITLES = ("picture", "coarse mask", "refined", "ground truth")
COLUMN = 420
"""Width of a column in pixels."""
TALLEST = 420
"""Height that no row exceeds."""
_GAP = 12
_CAPTION = 30
_HEAD = 34


@dataclass(frozen=True, eq=False, kw_only=True)
class Panels:
    """One row of the sheet.

    Attributes:
        image: (H, W, 3) RGB.
        maps: coarse and refined (H, W) labels, and true ones where there are any.
        scores: object IoU and object boundary IoU of coarse and refined map, in [0, 1]; empty
            without truth.
        names: text under the refined map, such as the names of its classes.
        background: id that is no object, or None.
    """

    image: Image
    maps: tuple[LabelMap, ...]
    scores: tuple[tuple[float, float], ...]
    background: int | None
    names: str = ""


def encode_sheet(rows: Sequence[Panels]) -> bytes:
    """Draw the rows below each other and return the PNG.

    Args:
        rows: at least one; pictures may differ in size and shape.
    """
    drawn = [_draw_row(row) for row in rows]
    titles = TITLES[: 1 + max(len(row.maps) for row in rows)]
    width = len(titles) * COLUMN + (len(titles) + 1) * _GAP
    height = _HEAD + sum(row.height for row in drawn) + _GAP
    sheet = PIL.Image.new("RGB", (width, height), "white")
    pen = PIL.ImageDraw.Draw(sheet)
    font = PIL.ImageFont.load_default(size=20)
    for index, title in enumerate(titles):
        centre = _GAP + index * (COLUMN + _GAP) + COLUMN / 2
        pen.text((centre, _HEAD / 2 + 2), title, fill="black", font=font, anchor="mm")
    y = _HEAD
    for row in drawn:
        sheet.paste(row, (0, y))
        y += row.height
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _draw_row(row: Panels) -> PIL.Image.Image:
    height, width = row.image.shape[:2]
    scale = min(COLUMN / width, TALLEST / height)
    size = round(width * scale), round(height * scale)
    # Enlarged before drawing, so that outlines are as thin in a small picture as in a large one.
    image = np.asarray(PIL.Image.fromarray(row.image).resize(size, PIL.Image.Resampling.LANCZOS))
    parts = [image] + [draw_labels(image, labels, background=row.background) for labels in row.maps]
    scores = [f"IoU {100 * i:.1f}   boundary IoU {100 * b:.1f}" for i, b in row.scores]
    scores = scores or ["", row.names]
    captions = ["", *scores, "dark: not scored" if (row.maps[-1] == IGNORE).any() else ""]
    canvas = PIL.Image.new(
        "RGB", (len(parts) * COLUMN + (len(parts) + 1) * _GAP, size[1] + _CAPTION + _GAP), "white"
    )
    pen = PIL.ImageDraw.Draw(canvas)
    font = PIL.ImageFont.load_default(size=17)
    for index, (part, caption) in enumerate(zip(parts, captions, strict=False)):
        left = _GAP + index * (COLUMN + _GAP)
        canvas.paste(PIL.Image.fromarray(part), (left + (COLUMN - size[0]) // 2, 0))
        pen.text(
            (left + COLUMN / 2, size[1] + _CAPTION / 2),
            caption,
            fill="black",
            font=font,
            anchor="mm",
        )
    return canvas
