"""Point clouds: the measured pixels of a picture in space, with colour, label and group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.geometry.camera import Camera, Points, unproject
from uosam.geometry.depth_map import DepthMap
from uosam.labels import components
from uosam.structures import IGNORE, Image, LabelMap, Masks

Ids = NDArray[np.int32]  # (N,)


@dataclass(frozen=True, eq=False, kw_only=True)
class PointCloud:
    """N points.

    Attributes:
        coord: (N, 3) metres, float64.
        colour: (N, 3) RGB, uint8.
        label: (N,) class ids, IGNORE where unknown.
        group: (N,) which thing a point belongs to, -1 for none.
        z_up: whether z points up; else x right, y down, z forward as a camera sees it.
    """

    coord: Points
    colour: NDArray[np.uint8]
    label: Ids
    group: Ids
    z_up: bool = False

    def __post_init__(self) -> None:
        """Hold the arrays together.

        Raises:
            InputError: they do not have the same number of points.
        """
        n = len(self.coord)
        shapes = self.coord.shape, self.colour.shape, self.label.shape, self.group.shape
        if shapes != ((n, 3), (n, 3), (n,), (n,)):
            raise InputError(
                f"a cloud needs coord and colour (N, 3), label and group (N,), got {shapes}"
            )

    def __len__(self) -> int:
        return len(self.coord)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> PointCloud:
        """Return some of the points, by mask or index."""
        return PointCloud(
            coord=self.coord[index],
            colour=self.colour[index],
            label=self.label[index],
            group=self.group[index],
            z_up=self.z_up,
        )


def make_cloud(
    depth: DepthMap,
    camera: Camera,
    image: Image,
    labels: LabelMap | None = None,
    groups: LabelMap | None = None,
) -> PointCloud:
    """Put the measured pixels of a picture into space; holes make no points.

    Args:
        depth: metric.
        camera: of the picture.
        image: (H, W, 3) RGB.
        labels: (H, W) class ids; None has all IGNORE.
        groups: (H, W) of ``paint_groups`` or ``label_groups``; None has all -1.

    Raises:
        InputError: the sizes differ, or the depth is not metric.
    """
    for name, array in (("picture", image), ("label map", labels), ("group map", groups)):
        if array is not None and array.shape[:2] != depth.z.shape:
            raise InputError(
                f"the depth must have the size of the {name} {array.shape[0]} x {array.shape[1]} "
                f"(H x W), got {depth.z.shape[0]} x {depth.z.shape[1]}; --resize enlarges or "
                "reduces it by nearest neighbour, if it shows the same view"
            )
    valid = depth.valid
    none = np.full(depth.z.shape, IGNORE, np.int32)
    return PointCloud(
        coord=unproject(depth, camera),
        colour=image[valid],
        label=(none if labels is None else labels)[valid],
        group=renumber((none if groups is None else groups)[valid]),
        z_up=camera.z_up,
    )


def paint_groups(masks: Masks, hw: tuple[int, int]) -> LabelMap:
    """Number the masks over a picture, the smaller on top; of equal ones the later.

    Segment Any RGBD paints the largest on top and makes uncovered pixels a group of their own.

    Args:
        masks: (M, H, W); a group's number is the place of its mask.
        hw: size of the picture, for no masks at all.

    Returns:
        (H, W) int32, -1 where no mask lies.

    >>> paint_groups(np.array([[[1, 0, 0]], [[1, 1, 0]]], bool), (1, 3)).tolist()
    [[0, 1, -1]]
    """
    groups = np.full(hw, -1, np.int32)
    sizes = np.array([-np.count_nonzero(mask) for mask in masks])
    for index in np.argsort(sizes, kind="stable").tolist():
        groups[masks[index]] = index
    return groups


def label_groups(labels: LabelMap, background: int | None = 0) -> LabelMap:
    """Number the connected parts of every label, in order of label and size.

    Args:
        labels: (H, W); IGNORE belongs to no group.
        background: id that is no thing, or None.

    Returns:
        (H, W) int32, -1 for none.

    >>> label_groups(np.array([[1, 0, 1, 2, 2]], np.int32)).tolist()
    [[0, -1, 1, 2, 2]]
    """
    groups = np.full(labels.shape, -1, np.int32)
    count = 0
    for label in np.unique(labels[labels != IGNORE]).tolist():
        for part in components(labels == label) if label != background else ():
            groups[part] = count
            count += 1
    return groups


def renumber(ids: Ids) -> Ids:
    """Number groups 0, 1, 2 ... in the order of their ids; -1 stays.

    >>> renumber(np.array([7, -1, 3, 7], np.int32)).tolist()
    [1, -1, 0, 1]
    """
    kinds, index = np.unique(ids, return_inverse=True)
    return (index.reshape(ids.shape) - np.count_nonzero(kinds < 0)).clip(-1).astype(np.int32)


def concatenate(clouds: Sequence[PointCloud]) -> PointCloud:
    """Return the points of several clouds in order, groups as they are.

    Args:
        clouds: at least one, in one frame of coordinates.
    """
    return PointCloud(
        coord=np.concatenate([cloud.coord for cloud in clouds]),
        colour=np.concatenate([cloud.colour for cloud in clouds]),
        label=np.concatenate([cloud.label for cloud in clouds]),
        group=np.concatenate([cloud.group for cloud in clouds]),
        z_up=clouds[0].z_up,
    )
