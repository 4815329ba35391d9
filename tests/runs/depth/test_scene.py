"""A photograph in space: the files that view writes, and one line for what cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import trimesh

from tests.depth_scene import HW, K, write_scene
from uosam.errors import ConfigError, InputError
from uosam.runs.depth.scene import Built, ViewOptions, build_view, write_built


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene")


def options(scene: Path, **changes: Any) -> ViewOptions:
    camera = {
        "intrinsics": scene / "intrinsics/intrinsic_depth.txt",
        "pose": scene / "pose/0.txt",
    }
    return ViewOptions(**{**camera, **changes})


def build(scene: Path, *, mask: bool = True, depth: str = "depth/0.png", **changes: Any) -> Built:
    where = scene / "masks/0.png" if mask else None
    return build_view(scene / "color/0.png", scene / depth, where, options(scene, **changes))


def test_places_are_those_of_the_room(scene: Path) -> None:
    built = build(scene)
    coord, label = built.cloud.coord, built.cloud.label
    np.testing.assert_allclose(coord[label == 1][:, 1], 3, atol=1e-3)
    np.testing.assert_allclose(coord[label == 2][:, 2], 0, atol=1e-3)
    np.testing.assert_allclose(coord[label == 3][:, 1], 2, atol=1e-3)
    assert built.cloud.group.max() == 2
    assert built.notes == ()
    np.testing.assert_allclose(built.view.eye or (), [0, 0, 1], atol=0.01)


def test_every_file_is_written_and_none_is_replaced_unasked(scene: Path, tmp_path: Path) -> None:
    built = build(scene, mesh=True)
    out = tmp_path / "out/room.glb"
    film = tmp_path / "out/turn.gif"
    written = write_built(built, out, title="room", colour="label", ply=True, film=film)
    assert {path.name for path in written} == {"room.glb", "room.ply", "room.html", "turn.gif"}
    assert all(path.stat().st_size for path in written)
    (mesh,) = trimesh.load(out).geometry.values()
    assert np.array_equal(mesh.faces, built.faces)
    assert len(trimesh.load(out.with_suffix(".ply")).vertices) == len(built.cloud)
    with PIL.Image.open(film) as frames:
        assert frames.n_frames > 50
    with pytest.raises(ConfigError, match=r"room.glb is there already; give --overwrite"):
        write_built(built, out, title="room")
    assert write_built(built, out, title="room", page=False, overwrite=True) == [out]
    (tmp_path / "wall").touch()
    with pytest.raises(InputError, match="cannot be written"):
        write_built(built, tmp_path / "wall/room.glb", title="room")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "0 background\n1 wall\n\n3 a large table\n",
            {0: "background", 1: "wall", 3: "a large table"},
        ),
        ("wall\nfloor\n", {}),
        ("1\n", {}),
    ],
)
def test_names_beside_the_mask_stand_in_the_legend(
    scene: Path, text: str, names: dict[int, str]
) -> None:
    assert build(scene).names == {}
    (scene / "masks/classes.txt").write_text(text)
    assert build(scene).names == names
    (scene / "masks/classes.txt").write_bytes(b"\xff")
    assert build(scene).names == {}


def test_what_was_assumed_is_told(scene: Path) -> None:
    built = build(scene, intrinsics=None, pose=None, mask=False)
    assert "camera assumed to see 55 degrees across" in built.notes[0]
    assert not built.cloud.z_up
    stored = cv2.imread(str(scene / "depth/0.png"), cv2.IMREAD_UNCHANGED)
    stored[: HW[0] // 4] = 0
    cv2.imwrite(str(scene / "depth/0.png"), stored)
    assert build(scene).notes == ("25.0 % of the pixels have no depth",)


def test_inverse_depth_needs_a_scale(scene: Path) -> None:
    z = cv2.imread(str(scene / "depth/0.png"), cv2.IMREAD_UNCHANGED) / 1000
    np.savez(scene / "relative.npz", inverse=2 / z)
    with pytest.raises(InputError, match="give --scale METRES"):
        build(scene, depth="relative.npz")
    built = build(scene, depth="relative.npz", scale=2.0)
    np.testing.assert_allclose(built.cloud.coord, build(scene).cloud.coord, atol=2e-3)
    assert "depth scaled by 2, as asked" in built.notes


def test_matrices_of_a_renderer(shared: Path, tmp_path: Path) -> None:
    golden = np.load(shared / "golden/sad/sailvos_frame.npz")
    np.savez(tmp_path / "m.npz", P=golden["P"], VP=golden["VP"], VP_inv=golden["VP_inv"])
    np.save(tmp_path / "d.npy", golden["depth"])
    rgb = golden["rgb_cells"].repeat(40, axis=0).repeat(40, axis=1)[:800, :1280]
    PIL.Image.fromarray(rgb).save(tmp_path / "p.png")
    views = ViewOptions(encoding="sailvos", matrices=tmp_path / "m.npz")
    built = build_view(tmp_path / "p.png", tmp_path / "d.npy", None, views)
    world = golden["world_sub"]
    found = built.cloud.coord.reshape(800, 1280, 3)[::16, ::16]
    np.testing.assert_allclose(found, world[..., :3] / world[..., 3:], rtol=1e-5, atol=1e-4)
    centre = np.linalg.inv(golden["VP"].astype(float) @ np.linalg.inv(golden["P"]))[3, :3]
    np.testing.assert_allclose(built.view.eye or (), centre, atol=0.1)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"intrinsics": None}, ConfigError, "--pose needs the --intrinsics"),
        ({"matrices": Path("m.npz")}, ConfigError, "--matrices stands for"),
        ({"encoding": "inverse"}, InputError, "only metric depth has a place"),
        ({"scale": -1.0}, InputError, "scale of depth must be"),
    ],
)
def test_options_that_contradict(
    scene: Path, changes: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        build(scene, **changes)


def test_a_camera_of_another_size_is_refused(scene: Path) -> None:
    large = K.copy()
    large[:2] *= 3
    np.savetxt(scene / "intrinsics/intrinsic_depth.txt", large)
    with pytest.raises(
        InputError, match="centre of the camera must lie in the picture of 96 x 128"
    ):
        build(scene)


def test_names_and_colourings_are_checked(scene: Path, tmp_path: Path) -> None:
    built = build(scene, mask=False)
    with pytest.raises(ConfigError, match=r"written as .glb, got room.obj"):
        write_built(built, tmp_path / "room.obj", title="room")
    with pytest.raises(ConfigError, match=r"film is written as .gif, got turn.mp4"):
        write_built(built, tmp_path / "room.glb", title="room", film=tmp_path / "turn.mp4")
    with pytest.raises(ConfigError, match="must be one of photo, which this scene has"):
        write_built(built, tmp_path / "room.glb", title="room", colour="label")
    whole = replace(built, cloud=build(scene).cloud)
    assert write_built(whole, tmp_path / "room.glb", title="room", colour="group")
