"""Phrases on a picture: an outline and a number for each region, the phrases beside it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from uosam.report.overlay import colour, enlarge
from uosam.report.soft import edge_distances
from uosam.stages.prompts import distance_points
from uosam.structures import Image, Mask

_LINE = 24  # pixels a line of the list
_EDGE = 2  # pixels a line is wide
_BADGE = 9  # radius of a number's disc


def draw_phrases(image: Image, masks: Sequence[Mask], phrases: Sequence[str]) -> Image:
    """Draw numbered regions, and the phrases as a list below, so that none hides another.

    Args:
        image: (H, W, 3) RGB.
        masks: (H, W) each; larger ones are drawn first.
        phrases: one for each mask; "" is shown as a dash.

    Returns:
        (H' + list, W', 3) RGB; small pictures are enlarged, H' is at least 320.
    """
    scale = max(1, round(320 / min(image.shape[:2])))
    big = enlarge(image, scale).astype(np.float32)
    order = sorted(range(len(masks)), key=lambda index: -np.count_nonzero(masks[index]))
    places: list[tuple[int, int, int]] = []
    for index in order:
        tint = colour(index + 1).astype(np.float32)
        region = masks[index].astype(np.int32)
        for _, place, distance in edge_distances(region, big.shape[:2], {0}, _EDGE + 0.5):
            inside = (distance + 0.5).clip(0, 1)
            line = inside * (_EDGE + 0.5 - distance).clip(0, 1)
            share = np.maximum(0.3 * inside, line)[..., None]
            big[place] += share * (tint - big[place])
        x, y = (np.array(distance_points(masks[index], 1, 0)[0][0]) + 0.5) * scale
        places.append((index, *_free(int(x), int(y), places, big.shape)))
    canvas = PIL.Image.fromarray(big.round().astype(np.uint8))
    pen = PIL.ImageDraw.Draw(canvas)
    font = PIL.ImageFont.load_default(size=12)
    for index, x, y in places:
        disc = (x - _BADGE, y - _BADGE, x + _BADGE, y + _BADGE)
        pen.ellipse(disc, fill=tuple(colour(index + 1).tolist()), outline="white")
        pen.text((x, y), str(index + 1), fill="black", font=font, anchor="mm")
    key = _list(phrases, big.shape[1])
    return np.concatenate([np.asarray(canvas), key])


def _free(
    x: int, y: int, places: Sequence[tuple[int, int, int]], shape: tuple[int, ...]
) -> tuple[int, int]:
    """Move a number away from those that are there, as little as it needs, in a spiral."""
    for step in range(200):
        angle, radius = 2.4 * step, 1.6 * step
        near = int(x + radius * np.cos(angle)), int(y + radius * np.sin(angle))
        column = int(np.clip(near[0], _BADGE, max(_BADGE, shape[1] - 1 - _BADGE)))
        row = int(np.clip(near[1], _BADGE, max(_BADGE, shape[0] - 1 - _BADGE)))
        if all((column - a) ** 2 + (row - b) ** 2 >= (2 * _BADGE) ** 2 for _, a, b in places):
            return column, row
    return x, y


def _list(phrases: Sequence[str], width: int) -> Image:
    """Draw the phrases with their numbers, one a line, long ones cut at the picture's edge."""
    strip = PIL.Image.new("RGB", (width, _LINE * max(1, len(phrases)) + 8), "white")
    pen = PIL.ImageDraw.Draw(strip)
    font = PIL.ImageFont.load_default(size=13)
    for index, phrase in enumerate(phrases):
        y = 4 + _LINE * index + _LINE // 2
        disc = (4, y - _BADGE, 4 + 2 * _BADGE, y + _BADGE)
        pen.ellipse(disc, fill=tuple(colour(index + 1).tolist()), outline="black")
        pen.text((4 + _BADGE, y), str(index + 1), fill="black", font=font, anchor="mm")
        text = phrase or "-"
        while font.getlength(text) > width - 40 and len(text) > 4:
            text = text[:-4] + "..." if not text.endswith("...") else text[:-7] + "..."
        pen.text((12 + 2 * _BADGE, y), text, fill="black", font=font, anchor="lm")
    return np.asarray(strip)


def encode_phrases(image: Image, masks: Sequence[Mask], phrases: Sequence[str]) -> bytes:
    """Return the JPEG of ``draw_phrases``."""
    buffer = io.BytesIO()
    drawn = draw_phrases(image, masks, phrases)
    PIL.Image.fromarray(drawn).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()
