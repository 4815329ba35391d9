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

from uosam.report.soft import edge_distances
from uosam.structures import IGNORE, Floats, Image, LabelMap, LabelSpec, Mask, Refinement

GAP = 6
"""White pixels between the two halves."""

LONGEST = 2000
"""Side in pixels that no preview of a photograph exceeds."""


def draw_labels(
    image: Image, labels: LabelMap, *, background: int | None = 0, alpha: float = 0.45
) -> Image:
    """Lay a label map over a picture: a tint for each class and a smooth line around it.

    Args:
        image: (H, W, 3) RGB.
        labels: (h, w) ids, of the picture's size or another; IGNORE is shown as darkened picture.
        background: id that gets no tint and no line of its own, or None.
        alpha: strength of the tint, 0 to 1.

    Returns:
        (H, W, 3) RGB, drawn anti-aliased at the size of the picture.
    """
    hw = (image.shape[0], image.shape[1])
    thickness = max(1, round(min(hw) / 400))
    plain = {IGNORE} if background is None else {IGNORE, background}
    regions = list(edge_distances(labels, hw, plain, 2 * thickness + 0.5))
    drawn = image.astype(np.float32)
    colours = {label: colour(label).astype(np.float32) for label, _, _ in regions}
    for label, place, distance in regions:
        cover = (distance + 0.5).clip(0, 1)[..., None]
        drawn[place] += alpha * cover * (colours[label] - image[place])
    # A white line on the object's side and its colour inside that, so that it shows on any ground.
    for label, place, distance in regions:
        line = (distance + 0.5).clip(0, 1) * (thickness + 0.5 - distance).clip(0, 1)
        inner = (distance - thickness + 0.5).clip(0, 1)
        inner *= (2 * thickness + 0.5 - distance).clip(0, 1)
        drawn[place] += inner[..., None] * (colours[label] - drawn[place])
        drawn[place] += line[..., None] * (255 - drawn[place])
    if (labels == IGNORE).any():
        drawn[_resized(labels == IGNORE, hw)] *= 0.4
    return drawn.round().clip(0, 255).astype(np.uint8)


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
    image = preview(image)
    scale = max(1, round(320 / max(1, min(image.shape[:2]))))
    if max(image.shape[:2]) * scale > 2048:
        scale = 1
    image = enlarge(image, scale)
    halves = [draw_labels(image, labels, background=background) for labels in (before, after)]
    gap = np.full((len(image), GAP, 3), 255, np.uint8)
    both = np.concatenate([halves[0], gap, halves[1]], axis=1)
    present = [
        int(i) for i in np.unique(np.stack([before, after])) if i not in (IGNORE, background)
    ]
    key = _draw_key(both.shape[1], image.shape[1] + GAP, present, names or {})
    return np.concatenate([both, key])


def preview(image: Image) -> Image:
    """Return a picture of at most ``LONGEST`` pixels a side.

    >>> preview(np.zeros((3000, 4000, 3), np.uint8)).shape
    (1500, 2000, 3)
    """
    return enlarge(image, min(1.0, LONGEST / max(image.shape[:2])))


def enlarge(image: Image, scale: float) -> Image:
    """Return a picture with its sides times ``scale``, at least one pixel each."""
    size = [max(1, round(side * scale)) for side in (image.shape[1], image.shape[0])]
    if (size[1], size[0]) == image.shape[:2]:
        return image
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)


def _resized(mask: Mask, hw: tuple[int, int]) -> Mask:
    if mask.shape == hw:
        return mask
    size = (hw[1], hw[0])
    found = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(found, np.bool_)


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
