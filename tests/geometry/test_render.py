"""Rendered depth: the published pictures to the bit, and what ours promises."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from tests.geometry.test_depth_map import plane, sphere
from uosam.errors import ConfigError
from uosam.geometry.depth_map import DepthMap, decode
from uosam.geometry.render import RenderOptions, fill_holes, render

PUBLISHED = RenderOptions(limits=(0, 100), holes="far")


def depth_of(z: np.ndarray) -> DepthMap:
    return DepthMap(z=z.astype(np.float32))


def test_scannet_is_rendered_as_published(shared: Path) -> None:
    frame = np.load(shared / "golden/sad/scannet_frame.npz")
    drawn = render(decode(frame["depth"], "mm"), PUBLISHED)
    assert np.array_equal(drawn[::4, ::4], frame["rendered"])
    assert zlib.crc32(drawn.tobytes()) == frame["rendered_crc32"]


def test_sailvos_is_rendered_as_published(shared: Path) -> None:
    frame = np.load(shared / "golden/sad/sailvos_frame.npz")
    options = RenderOptions(limits=(0, 100), holes="far", colormap="plasma")
    drawn = render(decode(frame["depth"], "sailvos"), options)
    assert np.array_equal(drawn[::8, ::8], frame["rendered_sub"])
    assert zlib.crc32(drawn.tobytes()) == frame["rendered_crc32"]
    # With the projection the depth is metric; its inverse is the same picture but for rounding.
    metric = render(decode(frame["depth"], "sailvos", frame["P"]), options)
    assert (metric != drawn).any(axis=-1).mean() < 1e-3


@pytest.mark.parametrize("mode", ["inverse", "linear", "log"])
def test_near_is_bright_and_the_limits_are_percentiles(mode: str) -> None:
    z = np.geomspace(0.5, 50, 100).reshape(10, 10)
    drawn = render(depth_of(z), RenderOptions(mode=mode, colormap="gray")).reshape(-1, 3)
    grey = drawn[:, 0].astype(int)
    assert (np.diff(grey) <= 0).all()
    assert (grey[0], grey[2], grey[-1]) == (255, 254 if grey[2] == 254 else grey[2], 0)
    assert grey[1] == 255  # beyond the 98th percentile
    flipped = render(
        DepthMap(z=(1 / z).astype(np.float32), kind="inverse"),
        RenderOptions(mode=mode, colormap="gray"),
    )
    assert np.abs(flipped.reshape(-1, 3)[:, 0].astype(int) - grey).max() <= 1


def test_one_speck_near_the_lens_changes_no_colours() -> None:
    z = plane()
    speck = z.copy()
    speck[3, 3] = 0.01
    ours = [render(depth_of(array)).astype(int) for array in (z, speck)]
    published = [render(depth_of(array), PUBLISHED).astype(int) for array in (z, speck)]
    away = np.ones(z.shape, bool)
    away[3, 3] = False
    assert np.abs(ours[0] - ours[1])[away].max() <= 3
    assert np.abs(published[0] - published[1])[away].max() > 100


def test_holes_take_the_nearest_colour_and_stay_in_the_data() -> None:
    z = plane()
    z[:, :5] = np.nan
    depth = depth_of(z)
    drawn = render(depth)
    assert (drawn[:, :5] == drawn[:, 5:6]).all()
    assert np.isnan(depth.z[:, :5]).all()
    assert depth.holes == pytest.approx(5 / 80)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 0.99))
def test_a_hole_is_filled_from_as_near_as_can_be(seed: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    valid = generator.random((13, 17)) < share
    valid[6, 8] = True
    places = np.arange(13 * 17, dtype=np.float64).reshape(13, 17)
    found = fill_holes(places, valid).astype(int)
    assert valid[np.unravel_index(found, valid.shape)].all()
    rows, cols = np.indices(valid.shape)
    distance = np.hypot(rows - found // 17, cols - found % 17)
    assert (distance <= distance_transform_edt(~valid) * 1.03 + 1e-9).all()


def test_a_wall_that_faces_the_camera_has_one_colour() -> None:
    drawn = render(depth_of(np.full((4, 5), 2.0)))
    assert (drawn == drawn[0, 0]).all()
    assert drawn[0, 0].any()


def test_normals_of_a_plane_and_a_ball() -> None:
    normals = render(depth_of(plane()), RenderOptions(mode="normals"), focal=100)
    # z = 2 + 0.5 x: towards the camera and to the right.
    expected = (np.array([0.5, 0, 1]) / np.hypot(0.5, 1) + 1) * 127.5
    assert np.abs(normals[10:-10, 10:-10] - expected).max() <= 2
    ball = render(depth_of(sphere()), RenderOptions(mode="normals"), focal=100).astype(int)
    middle = ball[28:32, 38:42].reshape(-1, 3)
    assert np.abs(middle - [127.5, 127.5, 255]).max() <= 8
    assert ball[30, 55, 0] > 150 > 105 > ball[30, 24, 0]  # right side faces right
    assert ball[15, 40, 1] > 150 > 105 > ball[45, 40, 1]  # upper side faces up


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "inverted"}, "unknown depth.mode 'inverted'"),
        ({"holes": "black"}, "unknown depth.holes 'black'"),
        ({"limits": (98, 2)}, "two percentiles"),
        ({"limits": (0, 101)}, "two percentiles"),
        ({"holes": "far", "mode": "log"}, "needs depth.mode=inverse, got 'log'"),
    ],
)
def test_options_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RenderOptions(**changes)  # type: ignore[arg-type]


def test_an_unknown_colormap_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown colormap 'infernal'; did you mean 'inferno'"):
        render(depth_of(plane()), RenderOptions(colormap="infernal"))


def test_without_matplotlib_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'uosam\[depth\]'"):
        render(depth_of(plane()), RenderOptions(colormap="cividis"))
