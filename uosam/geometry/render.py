"""A picture of the geometry: what a segmenter is shown in place of the photograph.

Segment Any RGBD (github.com/Jun-CEN/SegmentAnyRGBD) renders inverse depth between minimum and
maximum in matplotlib's colours; ``holes="far"`` with ``limits=(0, 100)`` is that to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError, unknown
from uosam.geometry.depth_map import DepthMap
from uosam.structures import Guide, Image

MODES = ("inverse", "linear", "log", "normals")
FIELD_OF_VIEW = 55.0
"""Degrees across a picture whose camera is not known."""
_SMOOTHING = 1.5  # pixels, before slopes are taken


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """How depth is drawn.

    Attributes:
        mode: what the colours stand for: "inverse" depth, "linear" depth or its "log", near bright
            in all; or "normals", the direction of the surface as RGB.
        limits: percentiles of the measured pixels that get the ends of the colour scale.
        holes: pixels without depth take the colour of the "nearest" measured one, or count as
            infinitely "far", also for the limits (as published).
        colormap: name of a colormap of matplotlib.
    """

    mode: Literal["inverse", "linear", "log", "normals"] = "inverse"
    limits: tuple[float, float] = (2.0, 98.0)
    holes: Literal["nearest", "far"] = "nearest"
    colormap: str = "inferno"

    def __post_init__(self) -> None:
        """Check names and ranges; the colormap when it is first used.

        Raises:
            ConfigError: unknown mode or way of holes, or limits out of order; "far" is possible
                for inverse depth alone.
        """
        if self.mode not in MODES:
            raise unknown("depth.mode", self.mode, MODES)
        if self.holes not in ("nearest", "far"):
            raise unknown("depth.holes", self.holes, ("nearest", "far"))
        low, high = self.limits
        if not 0 <= low < high <= 100:
            raise ConfigError(
                "depth.limits must be two percentiles, the first below the second, in [0, 100], "
                f"got {list(self.limits)}"
            )
        if self.holes == "far" and self.mode != "inverse":
            raise ConfigError(
                f"depth.holes=far needs depth.mode=inverse, got {self.mode!r}: only there is "
                "infinitely far a number"
            )


def render(
    depth: DepthMap, options: RenderOptions | None = None, focal: float | None = None
) -> Image:
    """Draw a depth map.

    Args:
        depth: of either kind.
        options: what is drawn and how.
        focal: focal length in pixels, for normals; None assumes ``FIELD_OF_VIEW``.

    Returns:
        (H, W, 3) RGB, uint8.

    Raises:
        ConfigError: no such colormap, or matplotlib is not installed.
    """
    options = options or RenderOptions()
    if options.mode == "normals":
        return _draw_normals(depth, focal)
    table = _colour_table(options.colormap)
    return np.take(table, _levels(depth, options), axis=0)


def fill_holes(values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
    """Give every pixel that is not valid the value of the nearest that is.

    Args:
        values: (H, W).
        valid: (H, W), somewhere true. Nearest by OpenCV's distance over 5 x 5 pixels, which is
            the true one but for ties.

    >>> fill_holes(np.array([[1, 0, 0, 5]], np.float32), np.array([[True, False, False, True]]))
    array([[1., 1., 5., 5.]], dtype=float32)
    """
    if valid.all():
        return values
    _, ids = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    known = np.zeros(int(ids.max()) + 1, values.dtype)
    known[ids[valid]] = values[valid]
    filled = values.copy()
    filled[~valid] = known[ids[~valid]]
    return filled


def _levels(depth: DepthMap, options: RenderOptions) -> NDArray[np.uint8]:
    """Return the (H, W) row of the colour table, 255 = near."""
    valid = depth.valid
    z = depth.z[valid].astype(np.float64)
    if depth.kind == "metric":
        # float32 holds seven digits: rounded, millimetres of a file are the very numbers again.
        z = 1 / (np.round(z, 5) + 1e-9)
    near = z if options.mode == "inverse" else -1 / z if options.mode == "linear" else np.log(z)
    measured = near
    if options.holes == "far":
        measured = np.zeros(depth.z.shape)
        measured[valid] = near
    low, high = np.percentile(measured, options.limits)
    levels = np.zeros(depth.z.shape, np.uint8)
    if high <= low:  # a wall that faces the camera
        levels[...] = 127
        return levels
    # 256 steps, as matplotlib makes them.
    levels[valid] = np.clip((near - low) / (high - low) * 256, 0, 255)
    return levels if options.holes == "far" else fill_holes(levels, valid)


@lru_cache(maxsize=8)
def _colour_table(name: str) -> NDArray[np.uint8]:
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError(
            "drawing depth needs matplotlib for its colours, which is not installed; get it with "
            "pip install 'uosam[depth]'"
        ) from error
    if name not in matplotlib.colormaps:
        raise unknown("colormap", name, list(matplotlib.colormaps))
    colours = matplotlib.colormaps[name](np.arange(256) / 255.0)[:, :3]
    return np.asarray(np.floor(255 * colours), np.uint8)


def _draw_normals(depth: DepthMap, focal: float | None) -> Image:
    """Draw the direction of the surface: x right, y up, z towards the camera, as RGB."""
    height, width = depth.z.shape
    focal = focal or width / 2 / float(np.tan(np.radians(FIELD_OF_VIEW / 2)))
    z = depth.z if depth.kind == "metric" else 1 / depth.z
    filled = cv2.GaussianBlur(fill_holes(z, depth.valid), (0, 0), _SMOOTHING)
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / focal
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / focal
    across = cv2.Sobel(filled, cv2.CV_32F, 1, 0) / 8
    down = cv2.Sobel(filled, cv2.CV_32F, 0, 1) / 8
    # The cross product of the two tangents of the surface (x z, y z, z), up to a factor above 0.
    normal = np.stack(
        [across, -down, filled / focal + x[None] * across + y[:, None] * down], axis=-1
    )
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    return np.asarray(((normal + 1) * 127.5).round(), np.uint8)


def make_guide(depth: DepthMap, options: RenderOptions | None = None) -> Guide:
    """Return depth as a guide for ``refine``: its picture, and where that is made up.

    Holes drawn as infinitely far are part of the picture, as published, and nobody looks for them.
    """
    options = options or RenderOptions()
    made_up = ~depth.valid
    holes = made_up if options.holes == "nearest" and made_up.any() else None
    return Guide(image=render(depth, options), holes=holes)
