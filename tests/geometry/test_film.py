"""The turntable: cameras as published (test_camera.py), points where they belong, true fades."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from uosam.errors import InputError
from uosam.geometry.cloud import PointCloud
from uosam.geometry.film import FADE, FRAMES, blend, encode_gif, splat, turntable


def test_a_fade_does_not_wrap_round_as_the_published_one(shared: Path) -> None:
    golden = np.load(shared / "golden/sad/view3d.npz")
    first, second = golden["gif_a"], golden["gif_b"]
    published = golden["gif_frames_published"][30:60]
    ours = np.stack(blend(first, second, 30))
    exact = first + np.arange(30)[:, None, None, None] / 29 * (second.astype(float) - first)
    assert np.abs(ours - exact).max() <= 0.5
    rises = second >= first
    assert np.abs(ours.astype(int) - published)[:, rises].max() <= 1
    wrong = np.abs(ours.astype(int) - published)[1:-1][:, ~rises]
    assert wrong.max() > 100  # the difference below 0 wrapped round


def test_the_nearest_point_is_on_top() -> None:
    seen = np.array([[0, 0, 2.0], [0, 0, 1.0], [0, 0, -1.0], [0.5, 0, 2.0]])
    colour = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        picture = splat(seen[order], colour[order], (40, 60))
        assert (picture[19:22, 29:32] == [0, 255, 0]).all()
        assert not (picture == [0, 0, 255]).all(axis=-1).any()
        rows, cols = np.nonzero((picture == 9).all(axis=-1))
        assert len(rows) == 9
        assert cols.max() < 30  # x points left
    assert (splat(seen[:0], colour[:0], (4, 6)) == 255).all()


def test_a_turn_goes_there_and_back_in_two_colours() -> None:
    generator = np.random.default_rng(0)
    n = 500
    cloud = PointCloud(
        coord=generator.normal(size=(n, 3)),
        colour=np.full((n, 3), 200, np.uint8),
        label=np.zeros(n, np.int32),
        group=np.zeros(n, np.int32),
    )
    red = np.tile(np.array([[200, 0, 0]], np.uint8), (n, 1))
    frames = list(turntable(cloud, [cloud.colour, red], hw=(60, 80)))
    assert len(frames) == 2 * FRAMES + FADE
    there, back = frames[:FRAMES], frames[FRAMES + FADE :]
    assert all((a != b).any() for a, b in itertools.pairwise(there))
    for one, two in zip(there, back[::-1], strict=True):
        assert np.array_equal((one != 255).any(axis=-1), (two != 255).any(axis=-1))
    data = encode_gif(frames)
    film = PIL.Image.open(io.BytesIO(data))
    assert film.n_frames >= 2 * FRAMES  # frames of the fade that look the same are one
    for index, frame in ((0, frames[0]), (film.n_frames - 1, frames[-1])):
        film.seek(index)
        shown = np.asarray(film.convert("RGB")).astype(int)
        assert np.abs(shown - frame).max() <= 4
    assert film.size == (80, 60)
    assert film.info["duration"] == 40


@pytest.mark.parametrize("z_up", [False, True])
def test_the_middle_of_the_sweep_sees_what_the_eye_saw(z_up: bool) -> None:
    # Before a camera at 0 that looks along z (or y, where z is up): red left, green right above.
    seen = np.array([[-1.0, 0, 3], [1, 0, 3], [1, -0.8, 3], [-1, 0.8, 3.1]])
    coord = seen[:, [0, 2, 1]] * [1, 1, -1] if z_up else seen
    colour = np.array([[255, 0, 0], [0, 255, 0], [0, 255, 0], [255, 0, 0]], np.uint8)
    none = np.full(4, -1, np.int32)
    cloud = PointCloud(coord=coord, colour=colour, label=none, group=none, z_up=z_up)
    frame = list(turntable(cloud, [colour], (0.0, 0.0, 0.0), (90, 120)))[FRAMES // 2]
    red, green = (np.argwhere(frame[..., channel] < 200) for channel in (1, 0))
    assert red[:, 1].max() < 60 < green[:, 1].min()
    assert green[:, 0].min() < red[:, 0].min()


def test_no_points_no_film() -> None:
    nothing = PointCloud(
        coord=np.zeros((0, 3)),
        colour=np.zeros((0, 3), np.uint8),
        label=np.zeros(0, np.int32),
        group=np.zeros(0, np.int32),
    )
    with pytest.raises(InputError, match="cloud with points, got none"):
        next(turntable(nothing, [nothing.colour]))
