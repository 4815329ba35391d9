"""Stored numbers become metres or an error of one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from uosam.errors import ConfigError, InputError
from uosam.geometry.depth_map import (
    ENCODINGS,
    DepthMap,
    decode,
    guess_encoding,
    resize_nearest,
    sailvos_ndc,
    scaled,
)


def sphere(hw: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Depth of a ball of 1 m, 3 m before a camera of focal length 100; nan beside it."""
    v, u = np.mgrid[: hw[0], : hw[1]]
    x, y = (u - (hw[1] - 1) / 2) / 100, (v - (hw[0] - 1) / 2) / 100
    # |z (x, y, 1) - (0, 0, 3)| = 1 at the nearer z.
    a = x**2 + y**2 + 1
    with np.errstate(invalid="ignore"):
        return (3 - np.sqrt(9 - 8 * a)) / a


def plane(hw: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Depth of the plane z = 2 + 0.5 x of the same camera."""
    u = np.arange(hw[1]) - (hw[1] - 1) / 2
    return np.broadcast_to(2 / (1 - 0.5 * u / 100), hw).copy()


@pytest.mark.parametrize("shape", [plane, sphere])
@pytest.mark.parametrize("encoding", ["mm", "tum", "kitti"])
def test_integers_come_back_within_half_a_step(encoding: str, shape: object) -> None:
    z = shape()  # type: ignore[operator]
    steps = ENCODINGS[encoding].steps or 0
    stored = np.nan_to_num(z * steps).round().astype(np.uint16)
    found = decode(stored, encoding)
    assert np.array_equal(found.valid, np.isfinite(z))
    assert np.nanmax(np.abs(found.z - z)) <= 0.5 / steps + 1e-6


@pytest.mark.parametrize("shape", [plane, sphere])
def test_floats_come_back(shape: object) -> None:
    z = shape()  # type: ignore[operator]
    found = decode(np.nan_to_num(z, nan=-1).astype(np.float64), "metres")
    np.testing.assert_allclose(found.z, z, rtol=1e-6)
    back = scaled(decode((1 / z).astype(np.float32), "inverse"), 1.0)
    np.testing.assert_allclose(back.z, z, rtol=1e-6)
    assert back.kind == "metric"


def test_sailvos_comes_back_with_its_projection(shared: Path) -> None:
    frame = np.load(shared / "golden/sad/sailvos_frame.npz")
    assert np.abs(sailvos_ndc(frame["depth"])[::8, ::8] - frame["ndc_sub"]).max() <= 1e-7
    y, x = np.mgrid[:800, :1280]
    true = 4 + 18 * (y / 800) ** 2 + 6 * ((x // 160) % 3)
    true[np.hypot(x - 500, y - 420) < 150] = 5
    # The circle's outline may include its last pixel or not.
    inside = np.abs(np.hypot(x - 500, y - 420) - 150) > 1
    found = decode(frame["depth"], "sailvos", frame["P"])
    assert np.abs(found.z - true)[inside].max() < 1e-3
    assert decode(frame["depth"], "sailvos").kind == "inverse"


@settings(max_examples=60, deadline=None)
@given(
    stored=arrays(
        st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
        st.tuples(st.integers(1, 5), st.integers(1, 5)),
    ),
    encoding=st.sampled_from(sorted(ENCODINGS)),
)
def test_any_array_is_decoded_or_refused(stored: np.ndarray, encoding: str) -> None:
    try:
        found = decode(stored, encoding)
    except InputError:
        return
    assert found.z.shape == stored.shape
    assert (found.z[found.valid] > 0).all()
    assert 0 <= found.holes < 1


@pytest.mark.parametrize(
    ("stored", "encoding", "message"),
    [
        (np.ones((2, 2), np.uint8), "mm", "8-bit depth is never metric"),
        (np.ones((2, 2), np.float32), "tum", "must be unsigned integers, got float32"),
        (np.ones((2, 2), np.uint16), "metres", "must be floats, got uint16"),
        (np.ones((2, 2, 3), np.uint8), "inverse", r"one channel \(H, W\), got \(2, 2, 3\)"),
        (np.zeros((2, 2), np.uint16), "mm", "must have a measured pixel, got none"),
        (np.full((2, 2), np.nan), "metres", "must have a measured pixel, got none"),
    ],
)
def test_what_is_no_depth_is_refused(stored: np.ndarray, encoding: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode(stored, encoding)


def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown depth encoding 'milli'"):
        decode(np.ones((2, 2), np.uint16), "milli")


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (np.ones((2, 2)), "float64"),
        (np.array([[1, 0]], np.float32), "finite and above 0"),
        (np.array([[1, np.inf]], np.float32), "finite and above 0"),
    ],
)
def test_a_map_holds_its_conventions(z: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DepthMap(z=z)


def test_what_an_encoding_is_taken_for() -> None:
    assert guess_encoding(np.dtype(np.uint16)) == "mm"
    assert guess_encoding(np.dtype(np.float32), "inverse") == "inverse"
    with pytest.raises(InputError, match="--encoding metres, sailvos or inverse"):
        guess_encoding(np.dtype(np.float32), "arr_0")
    with pytest.raises(InputError, match="--encoding inverse"):
        guess_encoding(np.dtype(np.uint8))


def test_resizing_makes_no_new_distances() -> None:
    depth = DepthMap(z=np.array([[1, 5], [np.nan, 7]], np.float32))
    large = resize_nearest(depth, (6, 6))
    assert np.array_equal(np.unique(large.z[large.valid]), [1, 5, 7])
    assert np.array_equal(resize_nearest(large, (2, 2)).z, depth.z, equal_nan=True)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_is_above_zero(scale: float) -> None:
    with pytest.raises(InputError, match="scale of depth must be finite and above 0"):
        scaled(DepthMap(z=np.ones((1, 1), np.float32), kind="inverse"), scale)
