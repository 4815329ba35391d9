"""One refined picture as a drawing, a file, and a table of what was decided."""

from __future__ import annotations

import io
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image
import PIL.ImageShow

from uosam.errors import ConfigError, InputError
from uosam.io.atomic import write_atomic
from uosam.io.codecs import write_labels
from uosam.report.overlay import draw_before_after, encode_overlay
from uosam.structures import IGNORE, Decision, Image, LabelSpec, Refinement

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def decision_frame(result: Refinement) -> pd.DataFrame:
    """Return a row for each verdict, with the name of its class where there is one.

    Columns: label, name, round, accepted, reason, score in [0, 1], agreement (IoU of redraw and
    coarse object) in [0, 1], area in pixels.
    """
    import pandas as pd

    frame = pd.DataFrame(
        [asdict(verdict) for verdict in result.verdicts],
        columns=[field.name for field in fields(Decision)],
    )
    names = [result.spec.names.get(int(label), "") for label in frame["label"]]
    frame.insert(1, "name", names)
    frame.insert(2, "round", frame.pop("round"))
    return frame


def draw_result(result: Refinement) -> Image:
    """Draw coarse and refined map side by side over the picture, with a key: (h, w, 3) RGB."""
    return draw_before_after(
        result.image,
        result.coarse,
        result.ids,
        background=result.spec.background,
        names=result.spec.names,
    )


def draw_png(result: Refinement) -> bytes:
    """Return the PNG of ``draw_result``."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(draw_result(result)).save(buffer, "PNG")
    return buffer.getvalue()


def plot_result(result: Refinement, ax: Axes | None = None) -> Axes:
    """Draw ``draw_result`` into matplotlib axes.

    Args:
        result: of one picture.
        ax: where to draw; a new figure of pyplot if None.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ConfigError(
            "plot() needs the package matplotlib, which is not installed; get it with "
            "pip install 'uosam[bench]', or use show() or save(path, drawing=True)"
        ) from error
    drawn = draw_result(result)
    if ax is None:
        _, ax = plt.subplots(figsize=(10, 10 * drawn.shape[0] / drawn.shape[1]), layout="tight")
    ax.imshow(drawn)
    ax.set_axis_off()
    return ax


def show_result(result: Refinement) -> None:
    """Open ``draw_result`` in the first viewer that Pillow finds; in a notebook, below the cell.

    Raises:
        InputError: there is no viewer.
    """
    if not PIL.ImageShow.show(PIL.Image.fromarray(draw_result(result)), title="uosam"):
        raise InputError(
            "show() needs a program that shows pictures, found none here; "
            "use save('look.png', drawing=True)"
        )


def save_result(result: Refinement, path: Path, *, drawing: bool = False) -> None:
    """Write the refined mask in the encoding of the mask that came in, or the drawing of it.

    A mask that came as an array goes into a PNG of the narrowest grey that holds its ids, or into
    ``.npy`` or ``.npz`` as it is.

    Args:
        result: of one picture.
        path: of the mask, PNG, ``.npy`` or ``.npz``; of a drawing, PNG or JPEG.
        drawing: write before and after side by side instead of the mask.

    Raises:
        InputError: the suffix suits no encoding that holds these ids.
        OSError: the file cannot be written.
    """
    suffix = path.suffix.lower()
    if drawing:
        if suffix == ".png":
            write_atomic(path, draw_png(result))
        elif suffix in (".jpg", ".jpeg"):
            write_atomic(path, encode_overlay(result.image, result.coarse, result, result.spec))
        else:
            raise InputError(f"{path}: a drawing is written as .png or .jpg, got {suffix!r}")
        return
    if suffix not in (".png", ".npy", ".npz"):
        raise InputError(
            f"{path}: a mask is written as .png, .npy or .npz, which keep ids exactly, got "
            f"{suffix!r}; for a picture of it use save(path, drawing=True)"
        )
    write_labels(path, result.ids, _suiting(result, suffix), scores=result.stored)


def _suiting(result: Refinement, suffix: str) -> LabelSpec:
    """Return the spec of the mask that came in, changed as little as the suffix demands."""
    spec, ids = result.spec, result.ids
    of_arrays = spec.codec in ("npy", "scores", "soft")
    if suffix != ".png":
        # A grey or palette picture as an array keeps its ids and their dtype.
        dtype = "int32" if spec.codec in ("luss", "colours") else spec.dtype
        if of_arrays:
            return spec
        return replace(spec, codec="npy", dtype=dtype, palette=None, colours=None)
    if not of_arrays:
        return spec
    largest = int(ids.max(initial=0))
    ignored = bool((ids == IGNORE).any())
    if spec.dtype in ("bool", "uint8") and spec.codec == "npy":
        return replace(spec, codec="index8", key=None)
    if largest + ignored <= 255:
        return replace(
            spec, codec="index8", dtype="uint8", ignore=255 if ignored else None, key=None
        )
    return replace(
        spec, codec="index16", dtype="uint16", ignore=65535 if ignored else None, key=None
    )
