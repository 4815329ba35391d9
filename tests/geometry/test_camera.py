"""Pixels find their place in space, and the way back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.geometry.test_depth_map import plane, sphere
from uosam.errors import InputError
from uosam.geometry.camera import Pinhole, Projective, assumed_camera, from_matrix, unproject
from uosam.geometry.depth_map import DepthMap, decode
from uosam.geometry.film import orbit

HUNDRED = Pinhole(fx=100, fy=100, cx=39.5, cy=29.5)


def test_a_plane_is_a_plane_and_a_ball_a_ball() -> None:
    x, _, z = unproject(DepthMap(z=plane().astype(np.float32)), HUNDRED).T
    np.testing.assert_allclose(z, 2 + 0.5 * x, atol=1e-6)
    ball = unproject(DepthMap(z=sphere().astype(np.float32)), HUNDRED)
    assert len(ball) == np.isfinite(sphere()).sum()
    np.testing.assert_allclose(np.linalg.norm(ball - [0, 0, 3], axis=1), 1, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    hw=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    angle=st.floats(-3, 3),
)
def test_there_and_back(seed: int, hw: tuple[int, int], angle: float) -> None:
    z = np.random.default_rng(seed).uniform(0.2, 9, hw).astype(np.float32)
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    pose[:3, 3] = 1, -2, 3
    camera = Pinhole(fx=50, fy=60, cx=3, cy=4, pose=pose)
    u, v, depths = camera.project(unproject(DepthMap(z=z), camera), hw)
    np.testing.assert_allclose(np.stack([v, u], axis=1), np.argwhere(z > 0), atol=1e-9)
    np.testing.assert_allclose(depths, z.ravel(), rtol=1e-6)


def test_sailvos_as_published(shared: Path) -> None:
    frame = np.load(shared / "golden/sad/sailvos_frame.npz")
    camera = Projective(p=frame["P"].astype(float), vp=frame["VP"], vp_inverse=frame["VP_inv"])
    depth = decode(frame["depth"], "sailvos", frame["P"])
    places = unproject(depth, camera)
    world = frame["world_sub"]
    found = places.reshape(800, 1280, 3)[::16, ::16]
    np.testing.assert_allclose(found, world[..., :3] / world[..., 3:], rtol=1e-5, atol=1e-4)
    u, v, z = camera.project(places[::999], (800, 1280))
    np.testing.assert_allclose(z, depth.z.ravel()[::999], rtol=1e-3)
    rows, cols = np.divmod(np.arange(800 * 1280)[::999], 1280)
    np.testing.assert_allclose(u, cols, atol=0.05)
    np.testing.assert_allclose(v, rows, atol=0.05)
    assert camera.z_up


def test_the_published_film_pretends_a_camera(shared: Path) -> None:
    golden = np.load(shared / "golden/sad/view3d.npz")
    turn, shift = orbit()
    np.testing.assert_allclose(turn, golden["R"], atol=1e-5)
    np.testing.assert_allclose(shift, golden["T"], atol=1e-5)
    y, x = np.mgrid[:480, :640]
    z = 0.6 + 0.003 * x + 0.002 * y + 0.5 * ((x // 80 + y // 60) % 3)
    k = golden["scannet_K"]
    places = unproject(DepthMap(z=z.astype(np.float32)), from_matrix(k))
    low, high = places.min(axis=0), places.max(axis=0)
    scaled = (places - low) / (high - low) * 2 - 1
    np.testing.assert_allclose(scaled[::211], golden["scannet_points"], atol=1e-5)


def test_the_assumed_camera_sees_the_angle_it_says() -> None:
    camera = assumed_camera((30, 60), 90)
    assert camera.fx == pytest.approx(30)
    assert camera.pose is None
    assert not camera.z_up
    x = camera.locate(np.array([-0.5, 59.5]), np.zeros(2), np.ones(2), (30, 60))[:, 0]
    np.testing.assert_allclose(x, [-1, 1])


def test_inverse_depth_has_no_place() -> None:
    depth = DepthMap(z=np.ones((2, 2), np.float32), kind="inverse")
    with pytest.raises(InputError, match="give --scale METRES"):
        unproject(depth, HUNDRED)


def test_poses_and_intrinsics_are_checked() -> None:
    lost = np.full((4, 4), -np.inf)
    with pytest.raises(InputError, match="pose must be finite, got inf or nan: the frame was not"):
        Pinhole(fx=1, fy=1, cx=0, cy=0, pose=lost)
    with pytest.raises(InputError, match=r"4 x 4 matrix, camera to world, got \(3, 3\)"):
        Pinhole(fx=1, fy=1, cx=0, cy=0, pose=np.eye(3))
    with pytest.raises(InputError, match="no rotation"):
        Pinhole(fx=1, fy=1, cx=0, cy=0, pose=2 * np.eye(4))
    with pytest.raises(InputError, match="focal lengths must be above 0"):
        Pinhole(fx=0, fy=1, cx=0, cy=0)
    with pytest.raises(InputError, match=r"3 x 3 or 4 x 4 matrix, got \(3, 4\)"):
        from_matrix(np.ones((3, 4)))
    with pytest.raises(InputError, match="rows 'fx 0 cx'"):
        from_matrix(np.ones((3, 3)))
