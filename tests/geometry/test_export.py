"""Files that another program opens, read back by it."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
import trimesh

from tests.geometry.test_depth_map import plane, sphere
from uosam.errors import ConfigError, InputError
from uosam.geometry.camera import Pinhole, assumed_camera
from uosam.geometry.cloud import PointCloud, make_cloud
from uosam.geometry.depth_map import DepthMap
from uosam.geometry.export import encode_glb, encode_ply, id_colours, triangulate, y_up

CAMERA = Pinhole(fx=100, fy=100, cx=39.5, cy=29.5)


@pytest.fixture
def cloud() -> PointCloud:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    labels = np.arange(80, dtype=np.int32)[None].repeat(60, axis=0)
    return make_cloud(DepthMap(z=sphere().astype(np.float32)), CAMERA, image, labels, labels // 40)


def geometry(data: bytes) -> trimesh.Trimesh | trimesh.PointCloud:
    scene = trimesh.load(io.BytesIO(data), file_type="glb")
    (shape,) = scene.geometry.values()
    return shape


def test_glb_holds_the_points_with_y_up(cloud: PointCloud) -> None:
    found = geometry(encode_glb(cloud))
    x, y, z = cloud.coord.T
    np.testing.assert_allclose(found.vertices, np.stack([x, -y, -z], axis=1), atol=1e-6)
    # Read back as every viewer does, dark tones are off by a few levels of 255.
    light = found.colors[:, :3] / 255
    shown = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(shown - cloud.colour).max() < 14
    assert np.abs(shown - cloud.colour)[cloud.colour > 60].max() < 3


def test_a_world_with_z_up_is_turned(cloud: PointCloud) -> None:
    tower = np.array([[0.0, 0, 5]])
    world = PointCloud(
        coord=tower,
        colour=np.zeros((1, 3), np.uint8),
        label=np.zeros(1, np.int32),
        group=np.zeros(1, np.int32),
        z_up=True,
    )
    assert y_up(world).tolist() == [[0, 5, 0]]


def test_ply_holds_label_and_group(cloud: PointCloud) -> None:
    red = np.tile(np.array([[255, 0, 0]], np.uint8), (len(cloud), 1))
    data = encode_ply(cloud, red)
    found = trimesh.load(io.BytesIO(data), file_type="ply")
    np.testing.assert_allclose(found.vertices, cloud.coord, atol=1e-6)
    assert np.array_equal(found.colors[:, :3], red)
    stored = found.metadata["_ply_raw"]["vertex"]["data"]
    assert np.array_equal(stored["label"].ravel(), cloud.label)
    assert np.array_equal(stored["group"].ravel(), cloud.group)


def test_a_mesh_has_no_curtains() -> None:
    z = plane().astype(np.float32)
    z[:, 40:] += 1  # a step of a third
    z[0, 0] = np.nan
    depth = DepthMap(z=z)
    faces = triangulate(depth)
    # Two triangles a quad, but for the 59 quads across the step and the one corner.
    assert len(faces) == 2 * 59 * 78 - 1
    cloud = make_cloud(depth, assumed_camera(z.shape), np.zeros((60, 80, 3), np.uint8))
    found = geometry(encode_glb(cloud, faces=faces))
    assert np.array_equal(found.faces, faces)
    # The front side faces the camera, which sits at 0 and looks along -z.
    assert (np.einsum("ij,ij->i", found.face_normals, found.triangles_center) < 0).all()


def test_colours_of_ids() -> None:
    ids = np.array([3, -1, 8], np.int32)
    assert id_colours(ids, {3: (1, 2, 3), -1: (0, 0, 0)}).tolist() == [
        [1, 2, 3],
        [150, 150, 150],
        [150, 150, 150],
    ]
    assert id_colours(ids[:0], {}).shape == (0, 3)


def test_nothing_is_not_written(cloud: PointCloud) -> None:
    empty = cloud[np.zeros(0, np.int64)]
    for encode in (encode_glb, encode_ply):
        with pytest.raises(InputError, match="needs points, got none"):
            encode(empty)


def test_without_trimesh_the_remedy_is_told(
    cloud: PointCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ConfigError, match=r"pip install 'uosam\[depth\]'"):
        encode_glb(cloud)
