"""Join the groups of several frames into those of a scene.

After Yang et al., "SAM3D: Segment Anything in 3D Scenes" (arXiv 2306.03908; the code of
SegmentAnything3D), as Segment Any RGBD carries classes through it. Two groups are one thing if
they share half of the smaller one's points, seen from either frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from uosam.errors import ConfigError, InputError, unknown
from uosam.geometry.camera import Points
from uosam.geometry.cloud import Ids, PointCloud, concatenate, renumber

REACH = 1.5
"""Voxels within which a point has a partner."""


@dataclass(frozen=True, kw_only=True)
class FusionOptions:
    """Constants of the fusion, as published.

    Attributes:
        voxel: metres along the side of a cell that keeps one point.
        small: points below which a group is none.
        overlap: share of the smaller group's points that makes two groups one, in (0, 1].
        far: metres beyond which a scene point takes nothing from the nearest fused point.
        labels: class of a fused group: the "majority" of its points, or of the "first" point of
            its larger part (as published, with which stray classes survive).
    """

    voxel: float = 0.05
    small: int = 50
    overlap: float = 0.5
    far: float = 0.6
    labels: Literal["majority", "first"] = "majority"

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a length is not above 0, a share not in (0, 1], or another rule of labels.
        """
        for name in ("voxel", "far"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be above 0 metres, got {getattr(self, name)}")
        if not 0 < self.overlap <= 1:
            raise ConfigError(f"overlap must be in (0, 1], got {self.overlap}")
        if self.labels not in ("majority", "first"):
            raise unknown("rule of labels", self.labels, ("majority", "first"))


PUBLISHED = FusionOptions()


def voxelise(cloud: PointCloud, voxel: float = PUBLISHED.voxel) -> PointCloud:
    """Keep the first point of every cell, in the order of the points.

    >>> points = np.array([[0.01, 0, 0], [0.02, 0, 0], [0.06, 0, 0]])
    >>> cloud = PointCloud(coord=points, colour=np.zeros((3, 3), np.uint8),
    ...                    label=np.arange(3, dtype=np.int32), group=np.zeros(3, np.int32))
    >>> voxelise(cloud).label.tolist()
    [0, 2]
    """
    if not len(cloud):
        return cloud
    cells = np.floor(cloud.coord / voxel).astype(np.int64)
    cells -= cells.min(axis=0)
    # One number a cell: room for two million cells along each axis, 100 km of the usual ones.
    key = (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
    _, first = np.unique(key, return_index=True)
    return cloud[np.sort(first)]


def without_small_groups(group: Ids, least: int = PUBLISHED.small) -> Ids:
    """Make groups of fewer than ``least`` points none.

    >>> without_small_groups(np.array([0, 0, 4, -1], np.int32), 2).tolist()
    [0, 0, -1, -1]
    """
    _, index, counts = np.unique(group, return_inverse=True, return_counts=True)
    return np.where(counts[index] < least, -1, group).astype(np.int32)


def absorb(cloud: PointCloud, into: PointCloud, options: FusionOptions = PUBLISHED) -> PointCloud:
    """Give ``into`` the group numbers of ``cloud`` where both mean the same thing.

    Groups of ``into`` are first numbered above those of ``cloud``. A point without a group takes
    that of its partner, the nearest point of ``cloud`` within reach. A group becomes the one with
    most of its partners (of equals the first met) if they are at least ``options.overlap`` of the
    smaller of both. Where ``options.labels`` is "first" and it was the smaller, its points take
    the class of the other's first point.

    Args:
        cloud: left as it is.
        into: of the same frame of coordinates.
        options: constants.
    """
    if not len(cloud) or not len(into):
        return into
    own = np.where(into.group >= 0, into.group + (int(cloud.group.max()) + 1), -1)
    distance, nearest = cKDTree(cloud.coord).query(
        into.coord, distance_upper_bound=REACH * options.voxel
    )
    near = np.flatnonzero(np.isfinite(distance))
    partner = np.full(len(into), -1, np.int64)
    partner[near] = cloud.group[nearest[near]]
    group = np.where(own >= 0, own, partner)
    label = into.label.copy()
    theirs, ours = _sizes(cloud.group), _sizes(own)
    for old, (new, shared) in _best_partners(own, partner).items():
        if shared < options.overlap * min(theirs[new], ours[old]):
            continue
        if options.labels == "first" and ours[old] < theirs[new]:
            label[group == old] = cloud.label[int(np.argmax(cloud.group == new))]
        group[group == old] = new
    return replace(into, group=group.astype(np.int32), label=label)


def join(earlier: PointCloud, later: PointCloud, options: FusionOptions = PUBLISHED) -> PointCloud:
    """Make one cloud of two; what is one thing in both directions has one number afterwards."""
    first, second = (
        replace(cloud, group=without_small_groups(cloud.group, options.small))
        for cloud in (earlier, later)
    )
    second = absorb(first, second, options)
    first = absorb(second, first, options)
    both = concatenate([first, second])
    return voxelise(replace(both, group=renumber(both.group)), options.voxel)


def fuse(frames: Sequence[PointCloud], options: FusionOptions = PUBLISHED) -> PointCloud:
    """Join frames pair by pair, the pairs' clouds again, until one is left.

    Args:
        frames: of one scene, in the same world; those without points are passed over.
        options: constants.

    Returns:
        One point a voxel; groups 0, 1, 2 ..., none smaller than ``options.small``.

    Raises:
        InputError: no frame has a point.
    """
    clouds = [voxelise(frame, options.voxel) for frame in frames if len(frame)]
    if not clouds:
        raise InputError("fusion needs a frame with measured points, got none")
    while len(clouds) > 1:
        pairs = [clouds[i : i + 2] for i in range(0, len(clouds), 2)]
        clouds = [join(p[0], p[1], options) if len(p) == 2 else p[0] for p in pairs]
    group = renumber(without_small_groups(clouds[0].group, options.small))
    fused = replace(clouds[0], group=group)
    return with_majority_labels(fused) if options.labels == "majority" else fused


def with_majority_labels(cloud: PointCloud) -> PointCloud:
    """Give every group the class most frequent among its points, of equals the lower id.

    Points of unknown class do not count; points of no group keep theirs.
    """
    label = cloud.label.copy()
    counted = (cloud.group >= 0) & (cloud.label >= 0)
    if not counted.any():
        return cloud
    pairs, counts = np.unique(
        np.stack([cloud.group[counted], cloud.label[counted]]), axis=1, return_counts=True
    )
    winner = np.full(int(cloud.group.max()) + 1, -1, np.int32)
    # The last to be written wins: the most frequent, of equals the lower id.
    order = np.lexsort([-pairs[1], counts])
    winner[pairs[0, order]] = pairs[1, order]
    inside = cloud.group >= 0
    found = winner[cloud.group[inside]]
    label[inside] = np.where(found >= 0, found, label[inside])
    return replace(cloud, label=label)


def label_scene(
    scene: Points,
    fused: PointCloud,
    options: FusionOptions = PUBLISHED,
    *,
    renumbered: bool = True,
) -> tuple[Ids, Ids]:
    """Carry groups and classes over to the points of a scan of the scene.

    Args:
        scene: (S, 3) metres.
        fused: of ``fuse``.
        options: constants.
        renumbered: whether groups are numbered anew, without those of which no point is near.

    Returns:
        (S,) groups and (S,) classes, of the nearest fused point; -1 beyond
        ``options.far``.
    """
    distance, nearest = cKDTree(fused.coord.astype(np.float32)).query(scene.astype(np.float32))
    far = distance.astype(np.float32) > options.far
    group = np.where(far, -1, fused.group[nearest]).astype(np.int32)
    group = renumber(group) if renumbered else group
    return group, np.where(far, -1, fused.label[nearest]).astype(np.int32)


def _sizes(group: NDArray[np.int64] | Ids) -> dict[int, int]:
    kinds, counts = np.unique(group, return_counts=True)
    return dict(zip(kinds.tolist(), counts.tolist(), strict=True))


def _best_partners(
    own: NDArray[np.int64], partner: NDArray[np.int64]
) -> dict[int, tuple[int, int]]:
    """Return, for each group, the group with most partners and how many, of equals the first."""
    both = np.flatnonzero((own >= 0) & (partner >= 0))
    if not len(both):
        return {}
    room = int(partner.max()) + 1
    pairs, first, counts = np.unique(
        own[both] * room + partner[both], return_index=True, return_counts=True
    )
    best: dict[int, tuple[int, int]] = {}
    for index in np.lexsort([first, -counts]).tolist():
        old, new = divmod(int(pairs[index]), room)
        best.setdefault(old, (new, int(counts[index])))
    return best
