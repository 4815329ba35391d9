"""A turntable of a point cloud as an animated GIF: numpy for the points, Pillow for the file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.geometry.cloud import PointCloud
from uosam.structures import Image

FRAMES = 45
"""Frames of a sweep, as published; the film goes there and back."""
FADE = 15
"""Frames in which the colours change over."""
RATE = 25
"""Frames a second."""
_SWEEP = (120.0, 220.0)  # degrees of azimuth, both ends
_ELEVATION, _DISTANCE = -10.0, 3.0  # as published; ours looks down a little
_LOOK_DOWN = 12.0
_ZOOM = 1.6  # focal length in halves of the frame's shorter side; the unit ball then fills it


def orbit(
    frames: int = FRAMES, elevation: float = _ELEVATION, distance: float = _DISTANCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cameras of a sweep that looks at 0, row vectors: seen = places @ R + T.

    Seen x points left, y up and z forward, as PyTorch3D has it.

    Args:
        frames: how many, over azimuths 120 to 220 degrees.
        elevation: degrees; below 0 the camera is lower than what it looks at.
        distance: from 0.

    Returns:
        R (frames, 3, 3) and T (frames, 3).
    """
    azimuth, height = np.radians(np.linspace(*_SWEEP, frames)), np.radians(elevation)
    place = distance * np.stack(
        [
            np.cos(height) * np.sin(azimuth),
            np.full(frames, np.sin(height)),
            np.cos(height) * np.cos(azimuth),
        ],
        axis=1,
    )
    z = -place / distance
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    turn = np.stack([x, np.cross(z, x), z], axis=2)
    return turn, -np.einsum("fi,fij->fj", place, turn)


def blend(first: Image, second: Image, frames: int) -> list[Image]:
    """Return pictures that go from one to the other, both ends included.

    The published program blends in 8 bits, where a difference below 0 wraps round.

    >>> [int(f[0, 0, 0]) for f in blend(np.full((1, 1, 3), 200, np.uint8),
    ...                                 np.full((1, 1, 3), 10, np.uint8), 3)]
    [200, 105, 10]
    """
    start, end = first.astype(np.float64), second.astype(np.float64)
    weights = np.linspace(0, 1, frames)
    return [(start + w * (end - start)).round().astype(np.uint8) for w in weights]


def turntable(
    cloud: PointCloud,
    colours: Sequence[NDArray[np.uint8]],
    eye: tuple[float, float, float] | None = None,
    hw: tuple[int, int] = (360, 480),
) -> Iterator[Image]:
    """Draw a cloud from cameras that sweep before it, in one set of colours after the other.

    Args:
        cloud: with points.
        colours: (N, 3) each; every sweep is drawn in the next, with a cross-fade between.
        eye: place of the cloud that the sweep passes in its middle, or near it; None does not care.
        hw: size of the frames.

    Yields:
        (h, w, 3) RGB frames on white.

    Raises:
        InputError: the cloud has no points.
    """
    if not len(cloud):
        raise InputError("a film needs a cloud with points, got none")
    places = _centred(cloud, eye)
    turns, shifts = orbit(elevation=_LOOK_DOWN)
    for number, colour in enumerate(colours):
        order = range(FRAMES) if number % 2 == 0 else range(FRAMES - 1, -1, -1)
        last: Image | None = None
        for frame in order:
            last = splat(places @ turns[frame] + shifts[frame], colour, hw)
            yield last
        if number + 1 < len(colours) and last is not None:
            seen = places @ turns[frame] + shifts[frame]
            yield from blend(last, splat(seen, colours[number + 1], hw), FADE)


def splat(seen: NDArray[np.float64], colour: NDArray[np.uint8], hw: tuple[int, int]) -> Image:
    """Draw points as 3 x 3 pixels on white, the nearest on top.

    Args:
        seen: (N, 3) x left, y up, z forward; what is not before the camera is left out.
        colour: (N, 3) RGB.
        hw: size of the picture.
    """
    height, width = hw
    focal = _ZOOM * min(hw) / 2 * (_DISTANCE - 1)
    before = seen[:, 2] > 1e-6
    x, y, z = seen[before].T
    u = np.rint(width / 2 - focal * x / z).astype(np.int64)
    v = np.rint(height / 2 - focal * y / z).astype(np.int64)
    inside = (u >= -1) & (u <= width) & (v >= -1) & (v <= height)  # a border of one pixel more
    u, v, z, paint = u[inside] + 1, v[inside] + 1, z[inside], colour[before][inside]
    # Far points first, so that of those on one pixel the nearest is written last.
    order = np.argsort(-z, kind="stable")
    nearest = np.full((height + 2, width + 2), -1)
    nearest[v[order], u[order]] = order
    depth = np.append(z, np.inf)[nearest]
    best, top = np.full((height, width), np.inf), np.full((height, width), -1)
    for dv in range(3):
        for du in range(3):
            near = depth[dv : dv + height, du : du + width]
            closer = near < best
            best[closer] = near[closer]
            top[closer] = nearest[dv : dv + height, du : du + width][closer]
    white = np.full((1, 3), 255, np.uint8)
    return np.asarray(np.concatenate([paint, white])[top])


def encode_gif(frames: Sequence[Image], rate: int = RATE) -> bytes:
    """Return an animated GIF that repeats for ever.

    Args:
        frames: at least one, all of one size.
        rate: frames a second.
    """
    pictures = [PIL.Image.fromarray(frame) for frame in frames]
    # One palette for all, from frames all over the film, or still surfaces would flicker.
    some = frames[:: max(1, len(frames) // 8)]
    palette = PIL.Image.fromarray(np.concatenate([*some, frames[-1]])).quantize(255)
    still = [p.quantize(palette=palette, dither=PIL.Image.Dither.NONE) for p in pictures]
    buffer = io.BytesIO()
    still[0].save(
        buffer, "GIF", save_all=True, append_images=still[1:], duration=1000 // rate, loop=0
    )
    return buffer.getvalue()


def _centred(cloud: PointCloud, eye: tuple[float, float, float] | None) -> NDArray[np.float64]:
    """Return places with y up in the unit ball, what faces ``eye`` towards the sweep's middle.

    Far strays do not shrink the rest.
    """
    low, high = np.percentile(cloud.coord, [1, 99], axis=0)
    middle, radius = (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 1e-9)
    places = _y_up((cloud.coord - middle) / radius, cloud.z_up)
    if eye is None:
        return places
    x, _, z = _y_up(np.array([eye]) - middle, cloud.z_up)[0]
    turn = np.radians(sum(_SWEEP) / 2) - np.arctan2(x, z)
    cos, sin = np.cos(turn), np.sin(turn)
    return np.asarray(places @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]))


def _y_up(places: NDArray[np.float64], z_up: bool) -> NDArray[np.float64]:
    x, y, z = places.T
    return np.stack([x, z, -y] if z_up else [x, -y, -z], axis=1)
