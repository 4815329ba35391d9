"""Clouds and meshes as files that other programs open: GLB through trimesh, and PLY.

GLB has y up and colours in linear light (glTF 2.0, section 3.7.2); places and colours are turned
accordingly. PLY keeps the coordinates and colours of the cloud.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError, InputError
from uosam.geometry.cloud import PointCloud
from uosam.geometry.depth_map import DepthMap
from uosam.structures import IGNORE

if TYPE_CHECKING:
    from types import ModuleType

CURTAIN = 0.05
"""Relative step of depth beyond which two neighbouring pixels are not one surface."""
GREY = (150, 150, 150)
"""RGB of what has no label or group."""
Triangles = NDArray[np.int64]  # (F, 3) indices of points


def triangulate(depth: DepthMap, curtain: float = CURTAIN) -> Triangles:
    """Join neighbouring measured pixels to triangles, except across steps of depth.

    Without the exception, objects would hang in curtains drawn to what is behind them.

    Args:
        depth: metric.
        curtain: a triangle whose farthest corner is farther than its nearest by more than this
            share is left out.

    Returns:
        (F, 3) indices into the measured pixels in raster order, front side to the camera.

    >>> triangulate(DepthMap(z=np.array([[1, 1], [1, 2]], np.float32))).tolist()
    [[0, 2, 1]]
    """
    index = np.full(depth.z.shape, -1, np.int64)
    index[depth.valid] = np.arange(np.count_nonzero(depth.valid))
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    found = np.stack([np.stack([a, c, b], axis=-1), np.stack([b, c, d], axis=-1)], axis=-2).reshape(
        -1, 3
    )
    found = found[(found >= 0).all(axis=1)]
    z = depth.z[depth.valid][found]
    return np.asarray(found[z.max(axis=1) <= (1 + curtain) * z.min(axis=1)])


def encode_glb(
    cloud: PointCloud, colours: NDArray[np.uint8] | None = None, faces: Triangles | None = None
) -> bytes:
    """Return a binary glTF of the points, or of a mesh over them.

    Args:
        cloud: with points.
        colours: (N, 3) RGB; None takes those of the cloud.
        faces: (F, 3) of ``triangulate``; None writes points.

    Raises:
        ConfigError: trimesh is not installed.
        InputError: the cloud has no points.
    """
    trimesh = _trimesh()
    _check_points(cloud)
    places = y_up(cloud)
    colours = linear_light(cloud.colour if colours is None else colours)
    shape = (
        trimesh.PointCloud(places, colors=colours)
        if faces is None or not len(faces)
        else trimesh.Trimesh(places, faces, vertex_colors=colours, process=False)
    )
    return bytes(trimesh.Scene(shape).export(file_type="glb"))


def encode_ply(cloud: PointCloud, colours: NDArray[np.uint8] | None = None) -> bytes:
    """Return a binary PLY with x, y, z, red, green, blue, and whole numbers label and group.

    trimesh writes no properties of points, so the vertex table is written here.

    Args:
        cloud: with points.
        colours: (N, 3) RGB; None takes those of the cloud.

    Raises:
        InputError: the cloud has no points.
    """
    _check_points(cloud)
    kinds = {"f4": "float", "u1": "uchar", "i4": "int"}
    fields = [*((n, "f4") for n in "xyz"), *((n, "u1") for n in ("red", "green", "blue"))]
    fields += [("label", "i4"), ("group", "i4")]
    table = np.empty(len(cloud), [(name, f"<{kind}") for name, kind in fields])
    for axis, name in enumerate("xyz"):
        table[name] = cloud.coord[:, axis]
    paint = cloud.colour if colours is None else colours
    for axis, name in enumerate(("red", "green", "blue")):
        table[name] = paint[:, axis]
    table["label"], table["group"] = cloud.label, cloud.group
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(cloud)}"]
    lines += [f"property {kinds[kind]} {name}" for name, kind in fields]
    return "\n".join([*lines, "end_header", ""]).encode() + table.tobytes()


def linear_light(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return sRGB colours as shares of light, which is what glTF stores.

    >>> linear_light(np.array([[0, 128, 255]], np.uint8)).tolist()
    [[0, 55, 255]]
    """
    share = np.arange(256) / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.asarray((light * 255).round(), np.uint8)[colours]


def y_up(cloud: PointCloud) -> NDArray[np.float32]:
    """Return the places with x right, y up and z towards the viewer, as glTF has them; (N, 3)."""
    x, y, z = cloud.coord.T
    return np.stack([x, z, -y] if cloud.z_up else [x, -y, -z], axis=1).astype(np.float32)


def id_colours(ids: NDArray[np.int32], table: dict[int, tuple[int, int, int]]) -> NDArray[Any]:
    """Return the (N, 3) RGB of ids; those that are not in the table, such as -1, are grey.

    >>> id_colours(np.array([4, -1], np.int32), {4: (1, 2, 3)}).tolist()
    [[1, 2, 3], [150, 150, 150]]
    """
    kinds, index = np.unique(ids, return_inverse=True)
    rows = [GREY if i == IGNORE else table.get(i, GREY) for i in kinds.tolist()]
    return np.array(rows, np.uint8).reshape(-1, 3)[index]


def _check_points(cloud: PointCloud) -> None:
    if not len(cloud):
        raise InputError("a cloud to be written needs points, got none")


def _trimesh() -> ModuleType:
    try:
        import trimesh
    except ImportError as error:
        raise ConfigError(
            "GLB files need trimesh, which is not installed; get it with pip install 'uosam[depth]'"
        ) from error
    return trimesh
