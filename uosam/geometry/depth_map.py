"""Depth as data with a unit, and the encodings in which it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError, unknown
from uosam.structures import Floats, Image, Mask

Kind = Literal["metric", "inverse"]


@dataclass(frozen=True, eq=False, kw_only=True)
class DepthMap:
    """How far the surface behind every pixel is.

    Attributes:
        z: (H, W) float32, NaN where nothing was measured. "metric": metres along the optical axis,
            above 0. "inverse": larger is nearer, above 0, in a unit nobody knows; such a map can
            be drawn but has no place in space.
        kind: which of the two.
    """

    z: Floats
    kind: Kind = "metric"

    def __post_init__(self) -> None:
        """Hold the conventions.

        Raises:
            InputError: another dtype or shape, no measured pixel, or values that are not above 0.
        """
        if self.z.dtype != np.float32 or self.z.ndim != 2:
            raise InputError(
                f"a depth map must be (H, W) float32, got {self.z.shape} {self.z.dtype}; "
                "decode stored values with uosam.geometry.depth_map.decode"
            )
        nearest = np.fmin.reduce(self.z, axis=None, initial=np.inf)
        if nearest == np.inf:
            raise InputError(
                "a depth map must have a measured pixel, got none (all 0, negative, nan or "
                "infinite); the sensor saw nothing, or the encoding is another one"
            )
        if nearest <= 0 or np.isposinf(self.z).any():
            raise InputError(
                "depth must be finite and above 0, with nan where nothing was measured, got "
                f"{float(nearest):g} to {float(np.nanmax(self.z)):g}"
            )

    @property
    def valid(self) -> Mask:
        """(H, W) where something was measured."""
        return np.isfinite(self.z)

    @property
    def holes(self) -> float:
        """Share of pixels where nothing was measured, in [0, 1)."""
        return 1 - np.count_nonzero(self.valid) / self.z.size


class DepthModel(Protocol):
    """A network that sees depth in a photograph."""

    def estimate(self, image: Image) -> DepthMap:
        """Return the depth of an (H, W, 3) RGB picture, at its size."""
        ...


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What stored numbers mean.

    Attributes:
        title: for listings.
        steps: stored numbers in a metre; None where the unit is not known.
        kinds: kinds of numpy dtype that carry it.
    """

    title: str
    steps: float | None
    kinds: str


ENCODINGS = {
    "mm": Encoding(title="16-bit PNG, millimetres (ScanNet, Kinect)", steps=1000, kinds="u"),
    "tum": Encoding(title="16-bit PNG, 1/5000 m", steps=5000, kinds="u"),
    "kitti": Encoding(title="16-bit PNG, 1/256 m", steps=256, kinds="u"),
    "metres": Encoding(title="floats, metres", steps=1, kinds="f"),
    "sailvos": Encoding(title="floats of SAIL-VOS 3D", steps=None, kinds="f"),
    "inverse": Encoding(title="larger is nearer, unit not known", steps=None, kinds="uf"),
}
"""Name to meaning; in all of them 0 and what is not finite was not measured."""


def decode(stored: NDArray[Any], encoding: str, projection: NDArray[Any] | None = None) -> DepthMap:
    """Turn stored numbers into a depth map.

    SAIL-VOS: stored / 6 - 4e-5 is the depth in normalised device coordinates, near = large. With
    the projection P (row vectors, clip = xyz1 @ P) that is metres; without, an inverse depth.

    Args:
        stored: (H, W) as in the file.
        encoding: key of ``ENCODINGS``.
        projection: (4, 4) P of the frame; "sailvos" only.

    Raises:
        ConfigError: no such encoding.
        InputError: not (H, W), a dtype that the encoding does not have, no measured pixel.

    >>> decode(np.array([[0, 1500]], np.uint16), "mm").z.tolist()
    [[nan, 1.5]]
    """
    if encoding not in ENCODINGS:
        raise unknown("depth encoding", encoding, ENCODINGS)
    meaning = ENCODINGS[encoding]
    if stored.ndim != 2:
        raise InputError(
            f"depth must be one channel (H, W), got {stored.shape}; a depth picture in colours "
            "for people cannot be turned back into depth"
        )
    if stored.dtype == np.uint8 and encoding != "inverse":
        raise InputError(
            f"8-bit depth is never metric, got uint8 for {encoding!r}; it can be drawn as a guide "
            "with --encoding inverse"
        )
    if stored.dtype.kind not in meaning.kinds:
        wanted = " or ".join({"u": "unsigned integers", "f": "floats"}[k] for k in meaning.kinds)
        raise InputError(
            f"depth encoding {encoding!r} ({meaning.title}) must be {wanted}, got {stored.dtype}; "
            "name the right one with --encoding"
        )
    if encoding == "sailvos":
        return _decode_sailvos(stored, projection)
    values = _to_float32(stored)
    if meaning.steps not in (None, 1):
        values /= np.float32(meaning.steps or 1)
    kind: Kind = "inverse" if meaning.steps is None else "metric"
    return DepthMap(z=_without_invalid(values), kind=kind)


def guess_encoding(dtype: np.dtype[Any], key: str | None = None) -> str:
    """Return the encoding that stored numbers have unless the user says otherwise.

    Args:
        dtype: as stored. 16-bit integers are taken for millimetres, as nearly all sensors write.
        key: name of the array inside an ``.npz``; one named as an encoding says what it holds.

    Raises:
        InputError: it cannot be told.
    """
    if key in ENCODINGS:
        return str(key)
    if dtype == np.uint16:
        return "mm"
    choices = "inverse" if dtype == np.uint8 else "metres, sailvos or inverse"
    raise InputError(
        f"{dtype} alone does not tell what the depth means; say --encoding {choices} "
        "(-s depth.encoding=NAME)"
    )


def sailvos_ndc(stored: NDArray[Any]) -> Floats:
    """Return the depth of SAIL-VOS 3D in normalised device coordinates, near = large.

    >>> sailvos_ndc(np.array([[0.06]], np.float32)).round(5).tolist()
    [[0.009960000403225422]]
    """
    return np.asarray(_to_float32(stored) / 6 - 4e-5, np.float32)


def _decode_sailvos(stored: NDArray[Any], projection: NDArray[Any] | None) -> DepthMap:
    ndc = _without_invalid(sailvos_ndc(stored))
    if projection is None:
        return DepthMap(z=ndc, kind="inverse")
    p = projection.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Camera z is negative in front of the camera; with w = P[2,3] z this is its size.
        z = -(p[3, 2] - ndc * p[3, 3]) / (ndc * p[2, 3] - p[2, 2])
    return DepthMap(z=_without_invalid(z.astype(np.float32)), kind="metric")


def _to_float32(stored: NDArray[Any]) -> Floats:
    with np.errstate(over="ignore"):  # beyond its range is infinitely far, which is no measurement
        return stored.astype(np.float32)


def _without_invalid(values: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        values[~((values > 0) & np.isfinite(values))] = np.nan
    return values


def resize_nearest(depth: DepthMap, hw: tuple[int, int]) -> DepthMap:
    """Return the map at another size; a mean of two surfaces would be a place where nothing is.

    >>> resize_nearest(DepthMap(z=np.array([[1, 2]], np.float32)), (2, 4)).z.tolist()
    [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    """
    height, width = depth.z.shape
    rows = (np.arange(hw[0]) * 2 + 1) * height // (2 * hw[0])
    cols = (np.arange(hw[1]) * 2 + 1) * width // (2 * hw[1])
    return DepthMap(z=depth.z[np.ix_(rows, cols)], kind=depth.kind)


def scaled(depth: DepthMap, scale: float) -> DepthMap:
    """Give an inverse map metres: distance = scale / value. A metric one is multiplied.

    Args:
        depth: either kind.
        scale: finite and above 0; for an inverse map, metres times its unit.

    Raises:
        InputError: ``scale`` is not finite and above 0.

    >>> scaled(DepthMap(z=np.array([[0.5]], np.float32), kind="inverse"), 2.0).z.tolist()
    [[4.0]]
    """
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(f"the scale of depth must be finite and above 0, got {scale}")
    z = scale / depth.z if depth.kind == "inverse" else scale * depth.z
    return DepthMap(z=np.asarray(z, np.float32), kind="metric")


def describe_encodings(encodings: Mapping[str, Encoding] = ENCODINGS) -> str:
    """Return one line an encoding, for help pages.

    >>> describe_encodings().splitlines()[0]
    'mm       16-bit PNG, millimetres (ScanNet, Kinect)'
    """
    return "\n".join(f"{name:<8} {encoding.title}" for name, encoding in encodings.items())
