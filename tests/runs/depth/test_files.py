"""Depth for folders: estimated by a network and drawn; files tell what they hold."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from tests import tiny_folders
from uosam.errors import BackendError, ConfigError, InputError
from uosam.geometry.depth_map import DepthMap
from uosam.geometry.render import render
from uosam.io.depth import DepthOptions, read_depth
from uosam.runs.depth.files import encode_depth, estimate_folder, render_folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "n").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("a.png", "n/b.jpg"):
        picture = generator.integers(0, 256, (40, 60, 3)).astype(np.uint8)
        PIL.Image.fromarray(picture).save(folder / name)
    (folder / "bad.jpg").write_bytes(b"\xff\xd8")
    return folder


@pytest.mark.parametrize(("kind", "suffix"), [("relative", ".npz"), ("metric", ".png")])
def test_estimated_files_are_read_without_being_told(
    tmp_path: Path, photos: Path, kind: str, suffix: str
) -> None:
    network = tiny_folders.depth_anything(tmp_path / "network", kind)
    run = estimate_folder(photos, tmp_path / "depth", network, device="cpu")
    assert run.status == {"estimated": 2}
    assert "not a picture in a known format" in run.failures["bad"]
    found = read_depth(tmp_path / f"depth/n/b{suffix}", hw=(40, 60))
    assert found.kind == ("metric" if kind == "metric" else "inverse")
    again = estimate_folder(photos, tmp_path / "depth", network, device="cpu")
    assert again.skipped == 2
    other = tiny_folders.depth_anything(tmp_path / "other", kind)
    weights = (other / "config.json").read_text().replace('"max_depth": 20', '"max_depth": 10')
    (other / "config.json").write_text(weights + " ")
    with pytest.raises(ConfigError, match="holds results of other settings"):
        estimate_folder(photos, tmp_path / "depth", other, device="cpu")


def test_a_folder_without_a_network_is_told_first(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(BackendError, match="folder of a depth network, found none"):
        estimate_folder(photos, tmp_path / "out", tmp_path / "nothing")
    assert not (tmp_path / "out").exists()


def test_drawn_depth_is_what_a_segmenter_sees(tmp_path: Path) -> None:
    depth = tmp_path / "depth"
    depth.mkdir()
    stored = np.arange(1, 49, dtype=np.uint16).reshape(6, 8) * 100
    stored[0, 0] = 0
    cv2.imwrite(str(depth / "a.png"), stored)
    cv2.imwrite(str(depth / "zero.png"), stored * 0)
    np.save(depth / "b.npy", stored.astype(np.float32))
    (depth / "c.exr").touch()
    options = DepthOptions(mode="log", colormap="viridis")
    run = render_folder(depth, tmp_path / "out", options)
    assert run.status == {"rendered": 1}
    assert {"b", "c", "zero"} == set(run.failures)
    drawn = np.asarray(PIL.Image.open(tmp_path / "out/a.png"))
    assert np.array_equal(drawn, render(read_depth(depth / "a.png"), options))
    assert '"holes": 0.0208' in (tmp_path / "out/manifest.jsonl").read_text()
    assert render_folder(depth, tmp_path / "out", options).skipped == 1
    with pytest.raises(ConfigError, match=r"depth.mode was 'log', now 'inverse'"):
        render_folder(depth, tmp_path / "out", DepthOptions(colormap="viridis"))
    render_folder(depth, tmp_path / "out", DepthOptions(), overwrite=True)
    with pytest.raises(ConfigError, match="must not be or lie in"):
        render_folder(depth, depth / "out", options)


def test_folders_without_depth_or_with_two_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(InputError, match="no depth files found"):
        render_folder(tmp_path / "d", tmp_path / "out", DepthOptions())
    for name in ("a.png", "a.npy"):
        (tmp_path / "d" / name).touch()
    with pytest.raises(InputError, match="share a name; rename one"):
        render_folder(tmp_path / "d", tmp_path / "out", DepthOptions())


def test_what_sixteen_bits_cannot_hold_is_not_measured(tmp_path: Path) -> None:
    z = np.array([[np.nan, 0.0004, 1.2345, 65.535, 65.6]], np.float32)
    (tmp_path / "d.png").write_bytes(encode_depth(DepthMap(z=z)))
    found = read_depth(tmp_path / "d.png").z.ravel()
    assert np.isnan(found[[0, 1, 4]]).all()
    assert found[[2, 3]].tolist() == pytest.approx([1.234, 65.535], abs=1e-3)
