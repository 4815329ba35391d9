"""Depth files of every kind, and one line for whatever is none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.geometry.test_depth_map import plane, sphere
from uosam.errors import ConfigError, InputError
from uosam.geometry.render import make_guide
from uosam.io.depth import (
    DepthOptions,
    find_depth,
    read_camera,
    read_depth,
    read_matrices,
    read_matrix,
)


def png(path: Path, array: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), array)
    return path


def npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("shape", [plane, sphere])
def test_files_of_every_encoding(tmp_path: Path, shape: object) -> None:
    z = shape()  # type: ignore[operator]
    whole = np.nan_to_num(z)
    for encoding, steps in (("mm", 1000), ("tum", 5000), ("kitti", 256)):
        path = png(tmp_path / f"{encoding}.png", (whole * steps).round().astype(np.uint16))
        assert np.nanmax(np.abs(read_depth(path, encoding).z - z)) < 0.51 / steps
    for path in (
        npy(tmp_path / "a.npy", whole.astype(np.float32)),
        png(tmp_path / "a.tiff", whole.astype(np.float32)),
    ):
        found = read_depth(path, "metres")
        np.testing.assert_allclose(found.z, z, rtol=1e-6)
    np.savez(tmp_path / "b.npz", inverse=1 / np.where(whole > 0, whole, np.inf))
    assert read_depth(tmp_path / "b.npz").kind == "inverse"
    assert read_depth(tmp_path / "mm.png").kind == "metric"


def test_eight_bits_can_be_drawn_and_nothing_else(tmp_path: Path) -> None:
    path = png(tmp_path / "grey.png", np.full((4, 5), 7, np.uint8))
    with pytest.raises(InputError, match=r"grey.png: uint8 alone .* --encoding inverse"):
        read_depth(path)
    with pytest.raises(InputError, match=r"grey.png: 8-bit depth is never metric"):
        read_depth(path, "mm")
    assert read_depth(path, "inverse").kind == "inverse"


def test_other_sizes_are_refused_or_taken_nearest(tmp_path: Path) -> None:
    path = png(tmp_path / "d.png", np.full((4, 5), 700, np.uint16))
    with pytest.raises(InputError, match=r"picture 8 x 10 \(H x W\), got 4 x 5; --resize"):
        read_depth(path, hw=(8, 10))
    assert read_depth(path, hw=(8, 10), resize=True).z.shape == (8, 10)
    assert read_depth(path, hw=(4, 5)).z.shape == (4, 5)


def test_what_is_no_depth_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.exr").write_bytes(b"v/1\x01")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "empty.png").touch()
    np.savez(tmp_path / "two.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    npy(tmp_path / "negative.npy", -np.ones((2, 2), np.int32))
    npy(tmp_path / "nan.npy", np.full((2, 2), np.nan))
    png(tmp_path / "zero.png", np.zeros((2, 2), np.uint16))
    png(tmp_path / "colour.png", np.ones((2, 2, 3), np.uint16))
    npy(tmp_path / "float.npy", np.ones((2, 2)))
    for name, message in {
        "a.exr": "OpenEXR is not read; save metres as .npy",
        "a.jpg": "JPEG change distances",
        "cut.png": "damaged or truncated",
        "cut.npy": "damaged or not plain",
        "empty.png": "0 bytes",
        "two.npz": "expected one array of depth, got a, b",
        "negative.npy": "numbers above 0, got int32",
        "zero.png": "must have a measured pixel",
        "colour.png": "one channel",
        "float.npy": "say --encoding metres",
        "missing.png": "cannot be read",
    }.items():
        with pytest.raises(InputError, match=message) as caught:
            read_depth(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"nan.npy: .*must have a measured pixel"):
        read_depth(tmp_path / "nan.npy", "metres")


def test_a_depth_file_has_the_name_of_the_mask(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.png").touch()
    (tmp_path / "2.NPY").touch()
    assert find_depth(tmp_path, "a/1") == tmp_path / "a/1.png"
    assert find_depth(tmp_path, "deep/down/2") == tmp_path / "2.NPY"
    assert find_depth(tmp_path, "3") is None
    (tmp_path / "4.exr").touch()
    assert find_depth(tmp_path, "4") == tmp_path / "4.exr"  # and reading tells why not


def test_cameras_from_text(tmp_path: Path) -> None:
    k = np.diag([500.0, 510, 1, 1])
    k[:2, 2] = 320, 240
    np.savetxt(tmp_path / "k.txt", k)
    np.savetxt(tmp_path / "t.txt", np.eye(4))
    camera, notes = read_camera(tmp_path / "k.txt", tmp_path / "t.txt")
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (500, 510, 320, 240)
    assert camera.z_up
    assert notes == []
    k[0, 3] = 0.2
    np.savetxt(tmp_path / "k.txt", k)
    _, notes = read_camera(tmp_path / "k.txt")
    assert "fourth column [0.2, 0.0, 0.0] is not used" in notes[0]
    np.savetxt(tmp_path / "lost.txt", np.full((4, 4), -np.inf))
    with pytest.raises(InputError, match=r"lost.txt: a pose must be finite"):
        read_camera(tmp_path / "k.txt", tmp_path / "lost.txt")
    np.savetxt(tmp_path / "row.txt", np.ones((1, 4)))
    with pytest.raises(InputError, match=r"row.txt: intrinsics must be a 3 x 3"):
        read_camera(tmp_path / "row.txt")
    (tmp_path / "words.txt").write_text("fx fy\n")
    with pytest.raises(InputError, match=r"words.txt: expected a text file of a matrix"):
        read_matrix(tmp_path / "words.txt")
    with pytest.raises(InputError, match=r"none.txt: cannot be read"):
        read_matrix(tmp_path / "none.txt")


def test_matrices_of_a_renderer(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", P=np.eye(4), VP=np.eye(4), VP_inv=np.eye(4), P_inv=np.eye(4))
    assert read_matrices(tmp_path / "m.npz").z_up
    np.savez(tmp_path / "n.npz", P=np.eye(4))
    with pytest.raises(InputError, match=r"expected 4 x 4 matrices P, VP and VP_inv, got P"):
        read_matrices(tmp_path / "n.npz")


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"unknown depth.encoding 'milli'"):
        DepthOptions(encoding="milli")
    with pytest.raises(ConfigError, match=r"unknown depth.mode 'x'"):
        DepthOptions(mode="x")  # type: ignore[arg-type]


def test_a_guide_tells_its_holes_unless_they_are_drawn_far(tmp_path: Path) -> None:
    stored = np.full((4, 5), 700, np.uint16)
    stored[0, 0] = 0
    depth = read_depth(png(tmp_path / "d.png", stored))
    guide = make_guide(depth, DepthOptions())
    assert guide.holes is not None
    assert np.argwhere(guide.holes).tolist() == [[0, 0]]
    assert make_guide(depth, DepthOptions(holes="far", limits=(0, 100))).holes is None
    stored[0, 0] = 700
    assert make_guide(read_depth(png(tmp_path / "d.png", stored))).holes is None
