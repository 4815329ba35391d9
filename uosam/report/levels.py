"""One click on a picture, answered at every level of granularity: a sheet for people."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image

from uosam.backends import BackendOptions, load_backend
from uosam.backends.models import MODELS
from uosam.labels import signed_distance
from uosam.report.columns import draw_columns
from uosam.structures import LEVELS, Backend, Image, LabelMap, Prompts

_WITHOUT = "graphcut"  # answers for models that have not all levels


def draw_click(
    image: Image, backend: Backend, levels: int, click: tuple[float, float], name: str
) -> Image:
    """Draw a picture with a click, and beside it the mask of each level.

    Args:
        image: (H, W, 3) RGB.
        backend: with so many levels.
        levels: of the backend.
        click: x, y in pixels.
        name: of the model, for the title.

    Returns:
        RGB of a row of columns, the picture first.
    """
    prompts = Prompts(
        points=np.array([[click]], np.float32),
        point_labels=np.ones((1, 1), np.int8),
        labels=np.zeros(1, np.int32),
        levels=np.arange(1, levels + 1, dtype=np.int8)[None],
    )
    found = backend.decode(backend.embed(image), prompts)
    maps: list[LabelMap] = [np.zeros(image.shape[:2], np.int32) for _ in range(levels)]
    for level, mask in zip(found.level.tolist(), found.masks, strict=True):
        maps[level - 1][mask] = level
    titles = [f"{name}: a click", *(f"level {level}" for level in range(1, levels + 1))]
    return draw_columns(image, maps, titles, mark=click)


def encode_click(image: Image, target: LabelMap, label: int, options: BackendOptions) -> bytes:
    """Return the PNG of a click in the middle of an object, answered by a model with levels.

    Args:
        image: (H, W, 3) RGB.
        target: (H, W) labels.
        label: the object that is clicked, where it is widest.
        options: of the segmenter; one without all six levels leaves the answer to graphcut.
    """
    model = MODELS.get(options.name)
    if model is None or model.levels < LEVELS:
        options = BackendOptions(name=_WITHOUT)
    depth = signed_distance(target == label)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    levels = MODELS[options.name].levels
    drawn = draw_click(image, load_backend(options), levels, (float(x), float(y)), options.name)
    buffer = io.BytesIO()
    PIL.Image.fromarray(drawn).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
