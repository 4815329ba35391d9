"""Clouds hold the measured pixels, with the published groups where order is the published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.geometry.test_depth_map import plane
from uosam.errors import InputError
from uosam.geometry.camera import assumed_camera, from_matrix
from uosam.geometry.cloud import (
    PointCloud,
    concatenate,
    label_groups,
    make_cloud,
    paint_groups,
    renumber,
)
from uosam.geometry.depth_map import DepthMap, decode


def unpack(packed: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Return (M, H, W) masks of a golden file."""
    bits = np.unpackbits(packed)
    return bits[: len(bits) // (hw[0] * hw[1]) * hw[0] * hw[1]].reshape(-1, *hw).astype(bool)


@pytest.mark.parametrize("kind", ["color", "depth"])
def test_the_published_clouds(shared: Path, kind: str) -> None:
    frame = np.load(shared / "golden/sad/scannet_frame.npz")
    golden = np.load(shared / f"golden/sad/scannet_pcd_{kind}.npz")
    photo = kind == "color"
    masks = unpack(frame["masks_rgb" if photo else "masks_depth"], (480, 640))
    voted = frame["voted_rgb" if photo else "voted_depth"].astype(np.int32)
    # Published: in reverse of the order of votes, and uncovered pixels are a group.
    sizes = masks.sum(axis=(1, 2))
    order = np.argsort(-sizes if photo else sizes, kind="stable")
    groups = np.full((480, 640), -1, np.int32)
    for number, index in enumerate(order[::-1].tolist()):
        groups[masks[index]] = number
    image = frame["rgb_cells"].repeat(20, axis=0).repeat(20, axis=1)
    depth = decode(frame["depth"], "mm")
    camera = from_matrix(frame["intrinsic"], frame["pose"])
    cloud = make_cloud(depth, camera, image, voted, groups + 1)
    assert len(cloud) == golden["n"]
    np.testing.assert_allclose(cloud.coord[::37], golden["coord"], atol=1e-6)
    exact = decode(frame["depth"], "mm").z.astype(np.float64).round(3)
    v, u = np.nonzero(depth.valid)
    places = camera.locate(u.astype(float), v.astype(float), exact[v, u], (480, 640))
    np.testing.assert_allclose(places[::37], golden["coord"], atol=1e-9)
    assert np.array_equal(cloud.colour[::37], golden["color"])
    assert np.array_equal(cloud.label[::37], golden["sem_map"])
    assert np.array_equal(cloud.group[::37], golden["group"])
    assert np.array_equal(np.bincount(cloud.group), golden["group_counts"])
    assert cloud.z_up


def test_holes_make_no_points_and_uncovered_pixels_no_group() -> None:
    z = plane().astype(np.float32)
    z[:10] = np.nan
    depth = DepthMap(z=z)
    image = np.zeros((60, 80, 3), np.uint8)
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 20:40, 20:40] = masks[1, 5:12, 5:12] = True
    cloud = make_cloud(depth, assumed_camera((60, 80)), image, None, paint_groups(masks, (60, 80)))
    assert len(cloud) == 50 * 80
    assert np.bincount(cloud.group + 1).tolist() == [50 * 80 - 400 - 14, 400, 14]
    assert (cloud.label == -1).all()
    assert len(cloud[cloud.group == 1]) == 14
    bare = make_cloud(depth, assumed_camera((60, 80)), image)
    assert (bare.group == -1).all()


def test_the_smaller_mask_lies_on_top_whatever_the_order() -> None:
    masks = np.array([[[0, 1, 0, 0]], [[1, 1, 1, 0]]], bool)
    assert paint_groups(masks, (1, 4)).tolist() == [[1, 0, 1, -1]]
    assert paint_groups(masks[::-1], (1, 4)).tolist() == [[0, 1, 0, -1]]
    assert paint_groups(masks[:0], (1, 2)).tolist() == [[-1, -1]]


def test_parts_of_a_label_are_groups() -> None:
    labels = np.array([[0, 0, 3, -1, 3, 3]], np.int32)
    assert label_groups(labels).tolist() == [[-1, -1, 1, -1, 0, 0]]
    assert label_groups(labels, None).tolist() == [[0, 0, 2, -1, 1, 1]]


def test_renumbering_keeps_none() -> None:
    assert renumber(np.array([-1, -1], np.int32)).tolist() == [-1, -1]
    assert renumber(np.array([5, 9, 5], np.int32)).tolist() == [0, 1, 0]
    assert renumber(np.zeros(0, np.int32)).tolist() == []


def test_clouds_are_put_together_in_order() -> None:
    one = PointCloud(
        coord=np.zeros((2, 3)),
        colour=np.zeros((2, 3), np.uint8),
        label=np.array([1, 2], np.int32),
        group=np.array([0, -1], np.int32),
    )
    assert concatenate([one, one[np.array([1])]]).label.tolist() == [1, 2, 2]


def test_sizes_are_compared() -> None:
    depth, camera = DepthMap(z=np.ones((4, 5), np.float32)), assumed_camera((4, 5))
    image = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(InputError, match=r"size of the picture 4 x 6 .* got 4 x 5; --resize"):
        make_cloud(depth, camera, image)
    with pytest.raises(InputError, match="size of the label map 3 x 5"):
        make_cloud(depth, camera, image[:, :5], np.zeros((3, 5), np.int32))
    with pytest.raises(InputError, match="a cloud needs coord and colour"):
        PointCloud(
            coord=np.zeros((2, 3)),
            colour=np.zeros((1, 3), np.uint8),
            label=np.zeros(2, np.int32),
            group=np.zeros(2, np.int32),
        )
