"""``uosam depth`` as typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests import tiny_folders
from tests.depth_scene import write_scene
from uosam.cli import build_app


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "room")


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(build_app(), ["depth", *map(str, arguments)])


def test_estimate_then_view_as_told(scene: Path, tmp_path: Path) -> None:
    network = tiny_folders.depth_anything(tmp_path / "network")
    result = invoke("estimate", scene / "color", tmp_path / "depth", "--checkpoint", network)
    assert result.exit_code == 0, result.output
    assert "estimated          2" in result.output
    photo, depth, out = scene / "color/0.png", tmp_path / "depth/0.npz", tmp_path / "o/a.glb"
    assert "give --scale METRES" in str(invoke("view", photo, depth, out).exception)
    result = invoke("view", photo, depth, out, "--scale", 2, "--no-html")
    assert result.exit_code == 0, result.output
    assert "note     camera assumed to see 55 degrees across" in result.output
    assert [path.name for path in out.parent.iterdir()] == ["a.glb"]


def test_view_writes_a_page_beside_the_scene(scene: Path, tmp_path: Path) -> None:
    camera = ["--intrinsics", scene / "intrinsics/intrinsic_depth.txt", "--pose"]
    places = [scene / "color/0.png", scene / "depth/0.png", scene / "masks/0.png"]
    more = ["--ply", "--mesh", "--colour", "group", "--background", "none"]
    out = tmp_path / "a.glb"
    result = invoke("view", *places, out, *camera, scene / "pose/0.txt", *more)
    assert result.exit_code == 0, result.output
    assert "points   12288" in result.output
    assert out.with_suffix(".html").is_file()
    assert out.with_suffix(".ply").is_file()
    result = invoke("view", *places[:2])
    assert "expected PHOTO DEPTH [MASK] OUT.glb, got 2 paths" in str(result.exception)


def test_render_draws_a_folder(scene: Path, tmp_path: Path) -> None:
    result = invoke("render", scene / "depth", tmp_path / "r", "--limits", 0, 100, "--holes", "far")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "r/1.png").is_file()
    result = invoke("render", scene / "depth", tmp_path / "s", "--mode", "invers")
    assert "did you mean 'inverse'" in str(result.exception)


def test_fuse_joins_and_names_what_it_leaves_out(scene: Path, tmp_path: Path) -> None:
    result = invoke("fuse", scene, tmp_path / "out", "--masks", scene / "masks")
    assert result.exit_code == 0, result.output
    assert "groups   3" in result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"fused.glb", "fused.ply", "fused.html", "labels.npz"}
    result = invoke("fuse", scene, tmp_path / "out", "--masks", scene / "masks")
    assert "labels.npz is there already" in str(result.exception)
    np.savetxt(scene / "pose/1.txt", np.full((4, 4), -np.inf))
    result = invoke("fuse", scene, tmp_path / "b", "--masks", scene / "masks")
    assert result.exit_code == 1
    assert "left out: 1: " in result.output
    assert "a pose must be finite" in result.output


def test_a_failure_of_one_file_is_exit_status_one(scene: Path, tmp_path: Path) -> None:
    (scene / "depth/1.png").write_bytes(b"\x89PNG")
    result = invoke("render", scene / "depth", tmp_path / "r")
    assert result.exit_code == 1
    assert "failed: 1: " in result.output
