"""Frames of a scene, joined from files."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.depth_scene import HW, look, write_scene
from uosam.errors import InputError
from uosam.runs.depth.fusion import SceneOptions, encode_frames, fuse_scene

OPTIONS = SceneOptions()


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "room", (0.0, 0.1, 0.2))


def test_a_thing_has_one_number_in_all_frames(scene: Path) -> None:
    seen: list[str] = []
    found = fuse_scene(scene, scene / "masks", OPTIONS, on_frame=seen.append)
    assert seen == ["0", "1", "2"]
    assert found.failures == {}
    numbers: dict[int, int] = {}
    for index, shift in enumerate((0.0, 0.1, 0.2)):
        _, labels, _ = look(shift)
        group, label = found.frames[str(index)]
        for kind in (1, 2, 3):
            inside = labels == kind
            assert (label[inside] == kind).mean() > 0.9
            values, counts = np.unique(group[inside], return_counts=True)
            number = values[counts.argmax()]
            assert number >= 0
            assert numbers.setdefault(kind, number) == number
    assert len(set(numbers.values())) == 3
    assert found.built.notes == ("3 frames joined",)
    arrays = np.load(io.BytesIO(encode_frames(found.frames)))
    assert sorted(arrays.files)[:2] == ["0/group", "0/label"]
    assert arrays["2/label"].shape == HW


def test_bad_frames_are_left_out_and_told(scene: Path) -> None:
    np.savetxt(scene / "pose/0.txt", np.full((4, 4), -np.inf))
    cv2.imwrite(str(scene / "depth/1.png"), np.zeros(HW, np.uint16))
    found = fuse_scene(scene, scene / "masks", OPTIONS)
    assert "a pose must be finite" in found.failures["0"]
    assert "must have a measured pixel" in found.failures["1"]
    assert found.built.notes == ("1 frames joined, 2 left out",)
    (scene / "masks/2.png").unlink()
    with pytest.raises(InputError, match="no frame can be used"):
        fuse_scene(scene, scene / "masks", OPTIONS)


def test_missing_depth_pose_or_mask(scene: Path) -> None:
    (scene / "depth/0.png").unlink()
    (scene / "pose/1.txt").unlink()
    write = scene / "color/9.png"
    write.write_bytes((scene / "color/2.png").read_bytes())
    found = fuse_scene(scene, scene / "masks", OPTIONS)
    assert "expected depth, found none" in found.failures["0"]
    assert "expected the pose of the frame, found none" in found.failures["1"]
    assert found.failures[str(write)] == "no mask of its name"


def test_where_the_camera_is_found(scene: Path) -> None:
    folder = scene / "intrinsics"
    np.savetxt(folder / "extrinsic_depth.txt", np.eye(4))
    (folder / "intrinsic_depth.txt").rename(folder / "camera.txt")
    assert not fuse_scene(scene, scene / "masks", OPTIONS).failures
    shifted = np.eye(4)
    shifted[0, 3] = 0.03
    np.savetxt(folder / "extrinsic_depth.txt", shifted)
    notes = fuse_scene(scene, scene / "masks", OPTIONS).built.notes
    assert "extrinsic_depth.txt is not the identity and not applied" in notes[1]
    (folder / "other.txt").write_text("1")
    with pytest.raises(InputError, match=r"got camera.txt, other.txt; give --intrinsics FILE"):
        fuse_scene(scene, scene / "masks", OPTIONS)
    given = SceneOptions(intrinsics=folder / "camera.txt")
    assert not fuse_scene(scene, scene / "masks", given).failures
