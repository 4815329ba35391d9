"""Fusion, stage by stage against what the public code computes, and on scenes of our own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uosam.errors import ConfigError, InputError
from uosam.geometry.cloud import PointCloud, renumber
from uosam.geometry.fusion import (
    FusionOptions,
    fuse,
    join,
    label_scene,
    voxelise,
    with_majority_labels,
    without_small_groups,
)

FIRST = FusionOptions(labels="first")


def read(golden: Any, name: str) -> PointCloud:
    return PointCloud(
        coord=golden[f"{name}_coord"],
        colour=golden[f"{name}_color"],
        label=golden[f"{name}_sem_map"].astype(np.int32),
        group=golden[f"{name}_group"].astype(np.int32),
    )


def rows(cloud: PointCloud) -> np.ndarray:
    """Return the points as sorted rows: their order is no part of the contract."""
    table = np.column_stack([cloud.coord, cloud.colour, cloud.label, cloud.group])
    return table[np.lexsort(table.T)]


def box(
    low: tuple[float, float, float], label: int, group: int, side: int = 9, step: float = 0.06
) -> PointCloud:
    """Return a cube of points."""
    grid = np.stack(np.meshgrid(*[np.arange(side) * step] * 3), axis=-1).reshape(-1, 3)
    n = len(grid)
    return PointCloud(
        coord=grid + low,
        colour=np.zeros((n, 3), np.uint8),
        label=np.full(n, label, np.int32),
        group=np.full(n, group, np.int32),
    )


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    return np.load(shared / "golden/sad/fusion.npz")


def test_every_stage_is_that_of_the_public_code(golden: Any) -> None:
    frames = [read(golden, f"frame{i}") for i in range(3)]
    for index, frame in enumerate(frames):
        assert np.array_equal(rows(voxelise(frame)), rows(read(golden, f"voxel{index}")))
    pair = join(voxelise(frames[0]), voxelise(frames[1]), FIRST)
    assert np.array_equal(rows(pair), rows(read(golden, "pair01")))
    assert len(np.unique(pair.group)) == golden["round1_groups"][0]
    whole = join(pair, voxelise(frames[2]), FIRST)
    expected = read(golden, "fused")
    assert np.array_equal(rows(whole), rows(expected))
    final = replace(expected, group=golden["fused_group_final"].astype(np.int32))
    assert np.array_equal(rows(fuse(frames, FIRST)), rows(final))
    scene, _ = label_scene(golden["scene_coord"], fuse(frames, FIRST))
    assert np.array_equal(scene, golden["scene_group"])


def test_small_groups_and_numbers_are_those_of_the_public_code(golden: Any) -> None:
    small = without_small_groups(golden["small_in"].astype(np.int32), 3)
    assert np.array_equal(small, golden["small_out_th3"])
    assert np.array_equal(renumber(small), golden["natural_out"])


def test_a_group_has_the_class_of_most_of_its_points(golden: Any) -> None:
    labels, groups = golden["semvote_labels"], golden["semvote_groups"]
    cloud = PointCloud(
        coord=np.zeros((10, 3)),
        colour=np.zeros((10, 3), np.uint8),
        label=labels.astype(np.int32),
        group=groups.astype(np.int32),
    )
    found = with_majority_labels(cloud).label
    inside = groups >= 0
    assert np.array_equal(found[inside], golden["semvote_out"][inside])
    assert np.array_equal(found[~inside], labels[~inside])  # not ours to change
    tie = replace(cloud, label=np.tile([5, 2], 5).astype(np.int32), group=np.zeros(10, np.int32))
    assert set(with_majority_labels(tie).label.tolist()) == {2}
    unknown = replace(cloud, label=np.full(10, -1, np.int32))
    assert np.array_equal(with_majority_labels(unknown).label, unknown.label)


def test_no_stray_class_survives(golden: Any) -> None:
    frames = [read(golden, f"frame{i}") for i in range(3)]

    def kinds(cloud: PointCloud) -> list[int]:
        return [len(np.unique(cloud.label[cloud.group == g])) for g in range(cloud.group.max() + 1)]

    assert max(kinds(fuse(frames, FIRST))) > 1
    assert max(kinds(fuse(frames))) == 1


def test_a_cloud_fused_with_itself_is_itself() -> None:
    parts = [box((0, 0, 0), 3, 4), box((2, 0, 0), 5, 9)]
    cloud = PointCloud(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("coord", "colour", "label", "group")
        }
    )
    single = fuse([cloud])
    for frames in ([cloud] * 2, [cloud] * 5, [cloud[np.zeros(0, np.int64)], cloud]):
        assert np.array_equal(rows(fuse(frames)), rows(single))
    assert np.bincount(single.group).tolist() == [9**3, 9**3]
    assert set(single.label.tolist()) == {3, 5}


def test_two_halves_seen_apart_stay_two_and_overlap_makes_one() -> None:
    left, right = box((0, 0, 0), 1, 0), box((0.06 * 9, 0, 0), 1, 0)
    assert fuse([left, right]).group.max() == 1
    both = box((0.06 * 2, 0, 0), 2, 0)
    fused = fuse([left, both])
    assert fused.group.max() == 0
    assert set(fused.label.tolist()) == {1}  # as many points of 2 lie beside; all 729 of 1 first


def test_a_scene_point_far_from_all_has_no_group() -> None:
    fused = fuse([box((0, 0, 0), 7, 0)])
    group, label = label_scene(np.array([[0.01, 0, 0], [-0.59, 0, 0], [-0.61, 0, 0]]), fused)
    assert group.tolist() == [0, 0, -1]
    assert label.tolist() == [7, 7, -1]


def test_what_cannot_be_fused_is_refused() -> None:
    with pytest.raises(InputError, match="frame with measured points, got none"):
        fuse([box((0, 0, 0), 1, 0)[np.zeros(0, np.int64)]])
    with pytest.raises(ConfigError, match="voxel must be above 0 metres"):
        FusionOptions(voxel=0)
    with pytest.raises(ConfigError, match=r"overlap must be in \(0, 1\]"):
        FusionOptions(overlap=1.5)
    with pytest.raises(ConfigError, match="unknown rule of labels 'last'"):
        FusionOptions(labels="last")  # type: ignore[arg-type]
