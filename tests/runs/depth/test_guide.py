"""Depth beside the pictures of a run guides it, determines its masks, and fails in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from tests.conftest import Scene
from uosam.cli import build_app
from uosam.config import load_config
from uosam.errors import ConfigError
from uosam.io.pairs import find_pairs
from uosam.runs.refine import refine_folder
from uosam.runs.summary import Run

FAKE = "backend.name=tests.fakes:load"
GUIDED = (
    FAKE,
    "global_region.grid=8",
    "global_region.min_purity=0",
    "global_region.protect=false",
    "prompts.min_area=1",  # the global stage alone
)


@pytest.fixture
def folders(tmp_path: Path, scene: Scene) -> Path:
    """Write three noisy pictures, and depth in which the shapes stand out."""
    for folder in ("images", "masks", "depth"):
        (tmp_path / folder).mkdir()
    noise = np.random.default_rng(0).integers(0, 256, scene.image.shape).astype(np.uint8)
    for index in range(3):
        PIL.Image.fromarray(noise).save(tmp_path / f"images/p{index}.png")
        PIL.Image.fromarray(scene.coarse.astype(np.uint8)).save(tmp_path / f"masks/p{index}.png")
        write_depth(tmp_path / f"depth/p{index}.png", scene)
    return tmp_path


def write_depth(path: Path, scene: Scene, far: int = 4000) -> None:
    cv2.imwrite(str(path), np.array([far, 1000, 2000], np.uint16)[scene.target])


def run(root: Path, *overrides: str, out: str = "out") -> Run:
    config = load_config(overrides=[*GUIDED, f"depth.folder={root / 'depth'}", *overrides])
    pairs = find_pairs(root / "images", root / "masks")
    return refine_folder(pairs, root / out, config, inputs=[root / "images", root / "masks"])


def rows(root: Path, out: str = "out") -> dict[str, dict[str, Any]]:
    lines = (root / out / "manifest.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return {row["name"]: row for row in found if "name" in row}


def read(path: Path) -> np.ndarray:
    return np.asarray(PIL.Image.open(path))


def test_depth_guides_the_vote(folders: Path, scene: Scene) -> None:
    result = run(folders)
    assert not result.failures
    assert (read(folders / "out/p0.png") == scene.target).mean() > 0.99
    assert result.counts["unguided"] == 0
    assert {row["holes"] for row in rows(folders).values()} == {0.0}
    assert all("depth_sha256" in row for row in rows(folders).values())


def test_a_changed_depth_file_is_done_again_and_a_moved_folder_is_not(
    folders: Path, scene: Scene
) -> None:
    run(folders)
    assert run(folders).skipped == 3
    write_depth(folders / "depth/p1.png", scene, far=5000)
    assert run(folders).skipped == 2
    moved = folders / "moved"
    shutil.move(folders / "depth", moved)
    assert run(folders, f"depth.folder={moved}").skipped == 3
    with pytest.raises(ConfigError, match=r"depth.mode was 'inverse', now 'log'"):
        run(folders, f"depth.folder={moved}", "depth.mode=log")


def test_a_bad_depth_file_is_one_line_and_the_run_goes_on(folders: Path, scene: Scene) -> None:
    depth = folders / "depth"
    cv2.imwrite(str(depth / "p0.png"), scene.target.astype(np.uint8))
    (depth / "p1.png").rename(depth / "p1.exr")
    result = run(folders)
    assert result.status["refined"] + result.status["kept"] == 1
    assert "uint8 alone does not tell" in result.failures["p0"]
    assert "OpenEXR is not read" in result.failures["p1"]
    cv2.imwrite(str(depth / "p0.png"), np.zeros((64, 96), np.uint16))
    cv2.imwrite(str(depth / "p2.png"), np.ones((8, 12), np.uint16))
    result = run(folders)
    assert "must have a measured pixel" in result.failures["p0"]
    assert "64 x 96 (H x W), got 8 x 12; --resize" in result.failures["p2"]
    assert not run(folders, "depth.resize=true", out="resized").failures.keys() & {"p2"}


def test_a_picture_without_depth_fails_or_is_counted(folders: Path) -> None:
    (folders / "depth/p2.png").unlink()
    result = run(folders)
    assert "expected depth" in result.failures["p2"]
    assert "--depth-optional" in result.failures["p2"]
    optional = run(folders, "depth.optional=true", out="other")
    assert not optional.failures
    assert optional.counts["unguided"] == 1
    assert run(folders, "depth.optional=true", "global_region.picture=both", out="third").counts[
        "unguided"
    ]


def test_what_makes_no_sense_is_refused_before_the_first_picture(folders: Path) -> None:
    with pytest.raises(ConfigError, match=r"global_region.grid=0 leaves out; set"):
        run(folders, "global_region.grid=0")
    with pytest.raises(ConfigError, match=r"found none at nowhere"):
        run(folders, "depth.folder=nowhere")
    with pytest.raises(ConfigError, match="must not be or lie in"):
        run(folders, out="depth/out")


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(build_app(), ["refine", *arguments])


def test_the_flags_of_the_command_line(folders: Path, scene: Scene) -> None:
    places = [str(folders / name) for name in ("images", "masks", "cli")]
    settings = [f"-s{text}" for text in GUIDED if "grid" not in text]
    (folders / "depth/p1.png").unlink()
    depth = ["--depth", str(folders / "depth"), "--depth-optional"]
    result = invoke(*places, *depth, *settings)
    assert result.exit_code == 0, result.output
    assert "without depth      1" in result.output
    assert (read(folders / "cli/p0.png") == scene.target).mean() > 0.99
    single = [str(folders / name) for name in ("images/p0.png", "masks/p0.png", "one.png")]
    for given in ("depth", "depth/p0.png"):
        result = invoke(*single, "--depth", str(folders / given), "--overwrite", *settings)
        assert result.exit_code == 0, result.output
        assert np.array_equal(read(folders / "one.png"), read(folders / "cli/p0.png"))
    single = [str(folders / name) for name in ("images/p1.png", "masks/p1.png", "two.png")]
    result = invoke(*single, *depth, *settings)
    assert result.exit_code == 0, result.output
    result = invoke(*single, *depth[:2], "--overwrite", *settings)
    assert "expected depth of the name p1, found none" in str(result.exception)
