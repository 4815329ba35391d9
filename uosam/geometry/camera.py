"""Cameras: from a pixel and its depth to a place in space, and back.

A pixel is (u, v), u = column and v = row of its centre. In a camera's own frame x points right, y
down and z forward (as OpenCV has it); a pose takes that to the world.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.geometry.depth_map import DepthMap
from uosam.geometry.render import FIELD_OF_VIEW

Points = NDArray[np.float64]  # (N, 3) metres
Reals = NDArray[np.float64]  # (N,)


class Camera(Protocol):
    """Whatever gives pixels a place."""

    @property
    def z_up(self) -> bool:
        """Whether places are in a world whose z points up, not in the camera's frame."""
        ...

    def locate(self, u: Reals, v: Reals, z: Reals, hw: tuple[int, int]) -> Points:
        """Return the places (N, 3) of pixels (N,) at depths z (N,) in a picture of size hw."""
        ...

    def project(self, places: Points, hw: tuple[int, int]) -> tuple[Reals, Reals, Reals]:
        """Return u, v and z (N,) of places; the inverse of ``locate``."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class Pinhole:
    """A camera by its focal lengths.

    Attributes:
        fx: focal length in pixels, along a row.
        fy: along a column.
        cx: column of the centre.
        cy: row of the centre.
        pose: (4, 4) camera to world, columns as written (world = pose @ camera); None leaves
            places in the camera's frame.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    pose: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Check what the arithmetic relies on.

        Raises:
            InputError: a focal length is not above 0, or the pose is not a finite rigid motion.
        """
        if not (self.fx > 0 and self.fy > 0 and np.isfinite([self.fx, self.fy]).all()):
            raise InputError(
                f"focal lengths must be above 0 pixels, got fx {self.fx:g} and fy {self.fy:g}"
            )
        if self.pose is not None:
            _check_pose(self.pose)

    @property
    def z_up(self) -> bool:
        """Whether there is a pose; worlds of indoor scans have z up."""
        return self.pose is not None

    def locate(self, u: Reals, v: Reals, z: Reals, hw: tuple[int, int]) -> Points:
        """Return the places of pixels; ``hw`` does not matter."""
        del hw
        seen = np.stack([(u - self.cx) * z / self.fx, (v - self.cy) * z / self.fy, z])
        if self.pose is not None:
            seen = self.pose[:3, :3] @ seen
            seen += self.pose[:3, 3:]
        return seen.T

    def project(self, places: Points, hw: tuple[int, int]) -> tuple[Reals, Reals, Reals]:
        """Return pixels and depths of places; ``hw`` does not matter."""
        del hw
        if self.pose is not None:
            places = (places - self.pose[:3, 3]) @ self.pose[:3, :3]
        x, y, z = places.T
        return x / z * self.fx + self.cx, y / z * self.fy + self.cy, z


@dataclass(frozen=True, eq=False, kw_only=True)
class Projective:
    """A camera by its matrices, as renderers keep them (SAIL-VOS 3D): clip = xyz1 @ VP.

    Attributes:
        p: (4, 4) projection, row vectors; gives metres and device depth from each other.
        vp: (4, 4) view and projection in one.
        vp_inverse: (4, 4).
    """

    p: NDArray[np.float64]
    vp: NDArray[np.float64]
    vp_inverse: NDArray[np.float64]

    @property
    def z_up(self) -> bool:
        """Places are in the world of the game, whose z points up."""
        return True

    def locate(self, u: Reals, v: Reals, z: Reals, hw: tuple[int, int]) -> Points:
        """Return the places of pixels in a picture of size ``hw``."""
        height, width = hw
        device = np.stack(
            [
                2 * u / (width - 1) - 1,
                1 - 2 * v / (height - 1),
                # Clip z over clip w of a place z metres in front of the camera.
                (self.p[3, 2] - z * self.p[2, 2]) / (self.p[3, 3] - z * self.p[2, 3]),
                np.ones(len(z)),
            ],
            axis=1,
        )
        places = device @ self.vp_inverse
        return np.asarray(places[:, :3] / places[:, 3:])

    def project(self, places: Points, hw: tuple[int, int]) -> tuple[Reals, Reals, Reals]:
        """Return pixels and depths of places."""
        height, width = hw
        clip = np.concatenate([places, np.ones((len(places), 1))], axis=1) @ self.vp
        device = clip[:, :3] / clip[:, 3:]
        u = (device[:, 0] + 1) * (width - 1) / 2
        v = (1 - device[:, 1]) * (height - 1) / 2
        # clip w = P[3,3] - z P[2,3]
        return u, v, (self.p[3, 3] - clip[:, 3]) / self.p[2, 3]


def from_matrix(matrix: NDArray[Any], pose: NDArray[Any] | None = None) -> Pinhole:
    """Return the camera of an intrinsic matrix, 3 x 3 or 4 x 4.

    A fourth column is not used: published code adds it to the places as metres, where data sets
    have zeros. Whoever reads the file says so if it is not zero.

    Raises:
        InputError: another shape, or not an intrinsic matrix.

    >>> from_matrix(np.array([[500, 0, 320], [0, 510, 240], [0, 0, 1]])).fy
    510.0
    """
    if matrix.shape not in ((3, 3), (4, 4)):
        raise InputError(f"intrinsics must be a 3 x 3 or 4 x 4 matrix, got {matrix.shape}")
    if not np.isfinite(matrix).all() or matrix[2, 2] != 1 or matrix[1, 0] or matrix[2, :2].any():
        raise InputError(
            "intrinsics must be rows 'fx 0 cx', '0 fy cy', '0 0 1', got "
            f"{matrix[:3, :3].round(3).tolist()}"
        )
    k = matrix.astype(np.float64)
    pose = None if pose is None else pose.astype(np.float64)
    return Pinhole(
        fx=float(k[0, 0]), fy=float(k[1, 1]), cx=float(k[0, 2]), cy=float(k[1, 2]), pose=pose
    )


def assumed_camera(hw: tuple[int, int], degrees: float = FIELD_OF_VIEW) -> Pinhole:
    """Return a camera that sees ``degrees`` from the left to the right side of a picture."""
    focal = hw[1] / 2 / float(np.tan(np.radians(degrees / 2)))
    return Pinhole(fx=focal, fy=focal, cx=(hw[1] - 1) / 2, cy=(hw[0] - 1) / 2)


def unproject(depth: DepthMap, camera: Camera) -> Points:
    """Give every measured pixel its place in space.

    Args:
        depth: metric; holes are left out.
        camera: of the picture that the depth belongs to.

    Returns:
        (N, 3) metres, float64, the measured pixels in raster order.

    Raises:
        InputError: the depth has no unit.
    """
    if depth.kind != "metric":
        raise InputError(
            "only metric depth has a place in space, got inverse depth of unknown scale; give "
            "--scale METRES (distance = scale / value), or use it as a guide only"
        )
    valid = depth.valid
    height, width = depth.z.shape
    v, u = np.nonzero(valid)
    return camera.locate(
        u.astype(np.float64),
        v.astype(np.float64),
        depth.z[valid].astype(np.float64),
        (height, width),
    )


def _check_pose(pose: NDArray[np.float64]) -> None:
    if pose.shape != (4, 4):
        raise InputError(f"a pose must be a 4 x 4 matrix, camera to world, got {pose.shape}")
    if not np.isfinite(pose).all():
        raise InputError(
            "a pose must be finite, got inf or nan: the frame was not tracked; leave it out"
        )
    turn = pose[:3, :3]
    if not np.allclose(turn @ turn.T, np.eye(3), atol=1e-2) or np.linalg.det(turn) < 0:
        raise InputError(
            "a pose must be a rotation and a shift (camera to world, 4 x 4), got a matrix whose "
            "3 x 3 part is no rotation"
        )
