"""Pictures for people: before and after side by side, and the confidence map."""

from __future__ import annotations

import io
from collections.abc import Mapping

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from uosam.structures import IGNORE, Floats, Image, LabelMap, LabelSpec, Refinement

GAP = 6
"""White pixels between the two halves."""

LONGEST = 2000
"""Side in pixels that no preview of a photograph exceeds."""


def draw_labels(
    image: Image, labels: LabelMap, *, background: int | None = 0, alpha: float = 0.45
) -> Image:
    """Lay a label map over a picture: a tint for each class and a crisp line around it.

    Args:
        image: (H, W, 3) RGB.
        labels: (H, W) ids; IGNORE is shown as darkened picture.
        background: id that gets no tint and no line of its own, or None.
        alpha: strength of the tint, 0 to 1.

    Returns:
        (H, W, 3) RGB.
    """
    drawn = image.astype(np.float32)
    ids, index = np.unique(labels, return_inverse=True)
    index = index.reshape(labels.shape)
    table = np.stack([colour(int(i)) for i in ids]).astype(np.float32)
    tinted = ~np.isin(labels, [IGNORE] if background is None else [IGNORE, background])
    drawn[tinted] += alpha * (table[index][tinted] - drawn[tinted])
    drawn[labels == IGNORE] *= 0.4
    # A white line on the object's side and its colour inside that, so that it shows on any ground.
    thickness = max(1, round(min(labels.shape) / 400))
    edge = _inner_edge(index, thickness) & tinted
    inner = _inner_edge(index, 2 * thickness) & tinted & ~edge
    drawn[inner] = table[index][inner]
    drawn[edge] = 255
    return drawn.round().astype(np.uint8)


def colour(label: int) -> NDArray[np.uint8]:
    """Return the RGB of a class: neighbours in id are far apart in hue, and all are bright.

    >>> colour(1).tolist() == colour(1).tolist() != colour(2).tolist()
    True
    """
    # Steps of the golden angle never come back to the same hue; three levels of saturation and
    # brightness keep apart the ids whose hues come close.
    hue = (label * 0.61803398875) % 1.0
    hsv = np.array([[[hue * 360, (0.95, 0.65, 0.8)[label % 3], (1.0, 0.95, 0.8)[label // 3 % 3]]]])
    rgb = cv2.cvtColor(hsv.astype(np.float32), cv2.COLOR_HSV2RGB)[0, 0]
    return np.asarray((rgb * 255).round(), np.uint8)


def draw_before_after(
    image: Image,
    before: LabelMap,
    after: LabelMap,
    *,
    background: int | None = 0,
    names: Mapping[int, str] | None = None,
) -> Image:
    """Draw coarse and refined map side by side over their picture, with a key below.

    Returns:
        (H + strip, 2 W + GAP, 3) RGB; small pictures are enlarged first, and those beyond
        ``LONGEST`` a side made smaller.
    """
    if max(image.shape[:2]) > LONGEST:
        image, before, after = _smaller(image, before, after)
    scale = max(1, round(320 / max(1, min(image.shape[:2]))))
    if max(image.shape[:2]) * scale > 2048:
        scale = 1
    if scale > 1:
        image, before, after = (
            np.repeat(np.repeat(array, scale, axis=0), scale, axis=1)
            for array in (image, before, after)
        )
    halves = [draw_labels(image, labels, background=background) for labels in (before, after)]
    gap = np.full((len(image), GAP, 3), 255, np.uint8)
    both = np.concatenate([halves[0], gap, halves[1]], axis=1)
    present = [
        int(i) for i in np.unique(np.stack([before, after])) if i not in (IGNORE, background)
    ]
    key = _draw_key(both.shape[1], image.shape[1] + GAP, present, names or {})
    return np.concatenate([both, key])


def _smaller(image: Image, before: LabelMap, after: LabelMap) -> tuple[Image, LabelMap, LabelMap]:
    """Return picture and maps with the long side at ``LONGEST``."""
    scale = LONGEST / max(image.shape[:2])
    size = [max(1, round(side * scale)) for side in (image.shape[1], image.shape[0])]
    picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    maps = [
        np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.int32)
        for labels in (before, after)
    ]
    return np.asarray(picture, np.uint8), maps[0], maps[1]


def encode_overlay(image: Image, before: LabelMap, result: Refinement, spec: LabelSpec) -> bytes:
    """Return the JPEG of ``draw_before_after``."""
    drawn = draw_before_after(
        image, before, result.ids, background=spec.background, names=spec.names
    )
    buffer = io.BytesIO()
    PIL.Image.fromarray(drawn).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def encode_confidence(image: Image, before: LabelMap, result: Refinement, spec: LabelSpec) -> bytes:
    """Return the 8-bit grey PNG of the confidence map, 255 = certain."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(to_grey(result.confidence)).save(buffer, "PNG")
    return buffer.getvalue()


def to_grey(confidence: Floats) -> NDArray[np.uint8]:
    """Scale [0, 1] to 0..255; nan becomes 0.

    >>> to_grey(np.array([[0, 0.5, 1.2, np.nan]], np.float32)).tolist()
    [[0, 128, 255, 0]]
    """
    return np.nan_to_num(np.clip(confidence, 0, 1) * 255).round().astype(np.uint8)


def _inner_edge(index: NDArray[np.intp], width: int) -> NDArray[np.bool_]:
    """Mark pixels within ``width`` of a pixel of another class; the picture's border is none."""
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    values = index.astype(np.float32)  # morphology knows floats, not integers
    highest, lowest = cv2.dilate(values, kernel), cv2.erode(values, kernel)
    return np.asarray(highest != lowest, np.bool_)


def _draw_key(width: int, right: int, present: list[int], names: Mapping[int, str]) -> Image:
    """Draw the strip below: "before" and "after", then a swatch and name for every class."""
    font = PIL.ImageFont.load_default(size=13)
    line, pad = 22, 8
    texts = [names.get(label, str(label)) for label in present]
    widths = [20 + round(font.getlength(text)) + 12 for text in texts]
    places, x, y = [], pad, line
    for entry in widths:
        if x + entry > width and x > pad:
            x, y = pad, y + line
        places.append((x, y))
        x += entry
    most = 4 * line  # 900 classes are not read one by one
    height = min(most, y + line if present else line) + 4
    strip = PIL.Image.new("RGB", (width, height), "white")
    pen = PIL.ImageDraw.Draw(strip)
    pen.text((pad, 4), "before", fill="black", font=font)
    pen.text((right + pad, 4), "after", fill="black", font=font)
    for label, text, (x, y) in zip(present, texts, places, strict=True):
        if y + line <= height:
            box = (x, y + 4, x + 14, y + 18)
            pen.rectangle(box, fill=tuple(colour(label).tolist()), outline="black")
            pen.text((x + 20, y + 3), text, fill="black", font=font)
    return np.asarray(strip)
