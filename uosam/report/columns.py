"""A picture and several maps of it, side by side under titles."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from uosam.report.overlay import draw_labels
from uosam.structures import Image, LabelMap

LONGEST = {1: 1024, 2: 480, 3: 480}
"""Pixels of the long side of a column, by the number of maps; fewer beside more."""
_MANY = 320
_GAP = 8
_HEAD = 30


def draw_columns(
    image: Image,
    maps: Sequence[LabelMap],
    titles: Sequence[str],
    *,
    mark: tuple[float, float] | None = None,
) -> Image:
    """Draw a picture, and beside it each map laid over it.

    Args:
        image: (H, W, 3) RGB.
        maps: (H, W) ids; 0 is not tinted.
        titles: of the picture and of the maps.
        mark: x, y in pixels of a click to show on the picture.

    Returns:
        RGB of a row of columns.
    """
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST.get(len(maps), _MANY) / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.LANCZOS))
    parts = [small, *(draw_labels(small, labels) for labels in maps)]
    canvas = PIL.Image.new(
        "RGB", (len(parts) * (size[0] + _GAP) + _GAP, size[1] + _HEAD + _GAP), "white"
    )
    pen = PIL.ImageDraw.Draw(canvas)
    font = PIL.ImageFont.load_default(size=15)
    for index, (part, title) in enumerate(zip(parts, titles, strict=True)):
        left = _GAP + index * (size[0] + _GAP)
        canvas.paste(PIL.Image.fromarray(part), (left, _HEAD))
        pen.text((left + size[0] / 2, _HEAD / 2), title, fill="black", font=font, anchor="mm")
    if mark is not None:
        at_x, at_y = _GAP + (mark[0] + 0.5) * scale, _HEAD + (mark[1] + 0.5) * scale
        pen.ellipse((at_x - 6, at_y - 6, at_x + 6, at_y + 6), fill="red", outline="white", width=2)
    return np.asarray(canvas)


def encode_columns(image: Image, maps: Sequence[LabelMap], titles: Sequence[str]) -> bytes:
    """Return the JPEG of ``draw_columns``."""
    buffer = io.BytesIO()
    drawn = draw_columns(image, maps, titles)
    PIL.Image.fromarray(drawn).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
