"""The front door: whatever holds a picture or a mask goes in, and comes back as it came."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import PIL.Image
import PIL.ImageShow
import pytest
import torch

import uosam
from tests.conftest import Scene
from uosam.config import Config, load_config
from uosam.errors import ConfigError, InputError
from uosam.io.codecs import read_labels
from uosam.structures import IGNORE, Guide

mpl.use("Agg")

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def refiner() -> uosam.Refiner:
    return uosam.Refiner("tests.fakes:load")


@pytest.fixture
def expected(refiner: uosam.Refiner, scene: Scene) -> np.ndarray:
    labels = refiner(scene.image, scene.coarse).labels
    assert labels.dtype == np.int32
    assert (labels != scene.coarse).any()
    return labels


def pictures(image: np.ndarray, folder: Path) -> dict[str, Any]:
    path = folder / "photo.png"
    PIL.Image.fromarray(image).save(path)
    rgba = np.dstack([image, np.full(image.shape[:2], 9, np.uint8)])
    tensor = torch.from_numpy(image)
    return {
        "path": path,
        "text": str(path),
        "pillow": PIL.Image.fromarray(image),
        "pillow RGBA": PIL.Image.fromarray(rgba),
        "RGBA": rgba,
        "channels first": np.moveaxis(image, 2, 0),
        "uint16": image.astype(np.uint16) * 257,
        "int64": image.astype(np.int64),
        "float64": image / 255,
        "float32 that overshoots": (image / 255).astype(np.float32) * 1.001,
        "torch HWC": tensor,
        "torch CHW": (tensor.permute(2, 0, 1) / 255).requires_grad_(),
    }


def test_every_picture_gives_the_same(
    refiner: uosam.Refiner, scene: Scene, expected: np.ndarray, tmp_path: Path
) -> None:
    for name, picture in pictures(scene.image, tmp_path).items():
        labels = refiner(picture, scene.coarse).labels
        np.testing.assert_array_equal(labels, expected, err_msg=name)


def test_grey_pictures_of_every_kind(refiner: uosam.Refiner, scene: Scene) -> None:
    grey = scene.image[..., 0]
    first = refiner(grey, scene.coarse)
    assert first.image.shape == (64, 96, 3)
    kinds = [grey[..., None], grey[None], PIL.Image.fromarray(grey), torch.from_numpy(grey)]
    kinds += [torch.from_numpy(grey / 255).bfloat16(), torch.from_numpy(grey)[None]]
    for picture in kinds:
        again = refiner(picture, scene.coarse)
        np.testing.assert_allclose(again.image.astype(int), first.image.astype(int), atol=1)
    black_and_white = refiner(grey > 100, scene.coarse).image
    assert set(np.unique(black_and_white)) == {0, 255}


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "int64", "float32"])
def test_ids_come_back_in_their_dtype(
    refiner: uosam.Refiner, scene: Scene, expected: np.ndarray, dtype: str
) -> None:
    result = refiner(scene.image, scene.coarse.astype(dtype))
    assert result.labels.dtype == dtype
    np.testing.assert_array_equal(result.labels, expected)
    np.testing.assert_array_equal(result.ids, expected)


def test_binary_masks_come_back_as_they_came(
    refiner: uosam.Refiner, scene: Scene, tmp_path: Path
) -> None:
    coarse = scene.coarse == 1
    truth = refiner(scene.image, coarse).labels
    assert truth.dtype == np.bool_
    assert (truth != coarse).any()
    PIL.Image.fromarray(coarse.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    for dtype, high, mask in (
        ("int64", 1, coarse.astype(np.int64)),
        ("uint8", 255, coarse.astype(np.uint8) * 255),
        ("float64", 1, coarse.astype(np.float64)),
        ("uint8", 255, tmp_path / "mask.png"),
        ("uint8", 255, PIL.Image.fromarray(coarse.astype(np.uint8) * 255)),
        ("bool", 1, PIL.Image.fromarray(coarse)),
        ("bool", 1, torch.from_numpy(coarse)[None]),
    ):
        result = refiner(scene.image, mask)
        np.testing.assert_array_equal(result.labels, truth * high)
        assert result.labels.dtype == dtype


def test_unknown_pixels_come_back(refiner: uosam.Refiner, scene: Scene) -> None:
    for dtype, value in (("uint8", 255), ("uint16", 65535), ("int64", -1), ("int64", -100)):
        coarse = scene.coarse.astype(dtype)
        coarse[:4] = value
        result = refiner(scene.image, coarse)
        assert (result.labels[:4] == value).all()
        assert (result.ids[:4] == IGNORE).all()
    coarse = scene.coarse.astype(np.uint8)
    coarse[:4] = 255
    assert (refiner(scene.image, coarse, ignore=None).ids[:4] != IGNORE).any()
    assert (refiner(scene.image, coarse, ignore=2).ids[coarse == 2] == IGNORE).all()


def test_palette_and_luss(
    refiner: uosam.Refiner, scene: Scene, expected: np.ndarray, tmp_path: Path
) -> None:
    palette = PIL.Image.fromarray(scene.coarse.astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    result = refiner(scene.image, palette)
    np.testing.assert_array_equal(result.labels, expected)
    result.save(tmp_path / "out.png")
    with PIL.Image.open(tmp_path / "out.png") as written:
        assert written.mode == "P"
        assert written.getpalette()[:9] == palette.getpalette()[:9]
        np.testing.assert_array_equal(np.asarray(written), expected)
    luss = np.zeros((64, 96, 3), np.uint8)
    luss[..., 0], luss[..., 1] = scene.coarse, scene.coarse == 2
    for mask in (luss, PIL.Image.fromarray(luss)):
        result = refiner(scene.image, mask)
        assert result.labels.shape == luss.shape
        assert result.labels.dtype == np.uint8
        np.testing.assert_array_equal(result.labels[..., 0], expected)
        np.testing.assert_array_equal(result.labels[..., 1], expected == 2)
        assert not result.labels[..., 2].any()
        np.testing.assert_array_equal(result.ids, expected + 256 * (expected == 2))
        result.save(tmp_path / "luss.png")
        assert read_labels(tmp_path / "luss.png").spec.codec == "luss"
        result.save(tmp_path / "luss.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "luss.npy"), result.ids)


def test_wide_pillow_masks(refiner: uosam.Refiner, scene: Scene, expected: np.ndarray) -> None:
    wide = PIL.Image.fromarray(scene.coarse.astype(np.uint16) * 300)
    result = refiner(scene.image, wide)
    assert result.labels.dtype == np.uint16
    np.testing.assert_array_equal(result.labels, expected * 300)
    signed = scene.coarse.copy()
    signed[:2] = -1
    assert refiner(scene.image, PIL.Image.fromarray(signed)).labels[0, 0] == -1
    soft = PIL.Image.fromarray((scene.coarse == 1).astype(np.float32) * 0.8)
    assert refiner(scene.image, soft).labels.dtype == np.float32


def test_scores_and_soft_masks(
    refiner: uosam.Refiner, scene: Scene, expected: np.ndarray, tmp_path: Path
) -> None:
    scores = np.stack([scene.coarse == k for k in range(3)]).astype(np.float32) * 0.6 + 0.1
    for mask in (scores, torch.from_numpy(np.log(scores))):
        result = refiner(scene.image, mask)
        assert result.labels.dtype == np.int32
        np.testing.assert_array_equal(result.labels, expected)
    result.save(tmp_path / "scores.npy")
    back = np.load(tmp_path / "scores.npy")
    assert back.shape == scores.shape
    np.testing.assert_array_equal(back.argmax(axis=0), result.labels)
    result.save(tmp_path / "ids.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "ids.png").labels, result.labels)
    soft = refiner(scene.image, (scene.coarse == 1) * 0.7 + 0.1)
    assert set(np.unique(soft.labels)) == {0.0, 1.0}
    np.testing.assert_array_equal(soft.labels == 1, expected == 1)
    soft.save(tmp_path / "soft.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "soft.npy") > 0.5, soft.labels == 1)
    soft.save(tmp_path / "soft.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "soft.png").labels, soft.ids)
    from_file = refiner(scene.image, tmp_path / "soft.npy")
    assert from_file.labels.dtype == np.float64
    np.testing.assert_array_equal(from_file.labels, soft.labels)


@pytest.mark.parametrize(
    ("picture", "part"),
    [
        ([[1, 2]], "expected a path, a Pillow picture"),
        (np.array([["a"]]), "array of numbers"),
        (np.zeros((0, 3)), "array of numbers"),
        (np.zeros((1, 3, 64, 96), np.uint8), "give image[0]"),
        (np.zeros((64, 96, 2), np.uint8), "1, 3 or 4 channels"),
        (np.full((64, 96, 3), 200.0), "must be in [0, 1], got 200 to 200"),
        (np.full((64, 96, 3), np.nan), "must be in [0, 1]"),
        (np.full((64, 96, 3), -1.8), "undo a normalisation"),
        (np.full((64, 96, 3), 300), "must be in 0..255"),
        ("nosuch.jpg", "cannot be read"),
        (PIL.Image.new("F", (96, 64)), "got floats"),
        (np.zeros((64, 95, 3), np.uint8), "must have the size of its picture 64 x 95"),
    ],
)
def test_a_picture_that_cannot_be_meant(
    refiner: uosam.Refiner, scene: Scene, picture: Any, part: str
) -> None:
    with pytest.raises(InputError) as caught:
        refiner(picture, scene.coarse)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mask", "part"),
    [
        (None, "got NoneType"),
        (np.zeros((2, 64, 96), bool), "number the masks of a stack"),
        (np.zeros((1, 2, 64, 96), np.float32), "scores (C, H, W)"),
        (np.full((64, 96), 2.5), "apply a sigmoid"),
        (np.full((64, 96), np.nan), "soft mask in [0, 1]"),
        (np.full((64, 96, 3), 9, np.uint8), "blue must be 0"),
        (np.full((64, 96), 1 << 40), "32 bits"),
        (PIL.Image.new("RGBA", (96, 64)), "convert('L')"),
        (np.ones((2, 32, 48), np.float32), "size of its picture"),
        (np.array([[-1, -2]]), "one value"),
        ("mask.jpg", "lossy formats"),
    ],
)
def test_a_mask_that_cannot_be_meant(
    refiner: uosam.Refiner, scene: Scene, mask: Any, part: str
) -> None:
    with pytest.raises(InputError) as caught:
        refiner(scene.image, mask)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_have_the_names_of_the_yaml_keys() -> None:
    refiner = uosam.Refiner(
        "graphcut", device="cpu", config="paper", rounds=3, global_region={"grid": 8}
    )
    settings = refiner.config
    assert settings.backend.name == "graphcut"
    assert settings.refine.local_region.rounds == 3
    assert settings.refine.global_region.grid == 8
    paper = load_config("paper")
    assert settings.refine.local_region.gate == paper.refine.local_region.gate
    dotted = uosam.Refiner(config=settings, **{"local_region.rounds": 2}).config
    assert dotted.backend == settings.backend
    assert dotted.refine.local_region.rounds == 2
    assert repr(refiner) == "Refiner('graphcut', device='cpu')"
    assert isinstance(refiner.config, Config)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"nosuch": 1}, "unknown setting 'nosuch'"),
        ({"rounds": "many"}, "local_region.rounds must be int"),
        ({"rounds": 0}, "at least 1"),
        ({"scores": "folder"}, "scores .* as the mask"),
        ({"codec": "luss", "min_score": 1}, "'min_score' is a key of the sections"),
        ({"local_region": 3}, "must be a mapping"),
        ({"workers": 4}, "is for folders"),
        ({"model": "nosuch"}, "unknown backend"),
        ({"config": "nosuch"}, "unknown config"),
    ],
)
def test_wrong_options(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        uosam.Refiner(**{"model": "graphcut", **options})


def test_a_codec_is_insisted_on(scene: Scene) -> None:
    with pytest.raises(InputError, match="codec 'luss' was asked for"):
        uosam.Refiner("tests.fakes:load", codec="luss")(scene.image, scene.coarse)


def test_none_is_background_where_the_settings_say_so(scene: Scene) -> None:
    every = uosam.Refiner("tests.fakes:load", labels={"background": "none", "ignore": "none"})
    result = every(scene.image, scene.coarse)
    assert 0 in result.decisions["label"].to_list()
    assert result.spec.background is None
    assert 0 not in every(scene.image, scene.coarse, background=0).decisions["label"].to_list()


def test_many_gives_what_single_calls_give(scene: Scene) -> None:
    refiner = uosam.Refiner(batch=2)
    shifted = [np.roll(scene.image, 7 * k, axis=1) for k in range(3)]
    masks = [np.roll(scene.coarse, 7 * k, axis=1) for k in range(3)]
    results = list(refiner.many(zip(shifted, masks, strict=True), names={1: "disc"}))
    for image, mask, result in zip(shifted, masks, results, strict=True):
        np.testing.assert_array_equal(result.labels, refiner(image, mask).labels)
    assert set(results[0].decisions["name"]) == {"disc", ""}
    with pytest.raises(InputError, match="pair 2: "):
        list(refiner.many([(scene.image, scene.coarse), (scene.image, None)]))


def test_one_call_keeps_the_model(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    first = uosam.refine(scene.image, scene.coarse, "graphcut")
    monkeypatch.setattr("uosam.api.refiner.load_backend", lambda options: 1 / 0)
    again = uosam.refine(scene.image, scene.coarse, "graphcut")
    np.testing.assert_array_equal(first.labels, again.labels)


def test_a_cache_on_request(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UOSAM_CACHE", str(tmp_path))
    uosam.refine(scene.image, scene.coarse, embedding_cache="always")
    assert any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_result_draws_and_saves_itself(
    refiner: uosam.Refiner, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = refiner(scene.image, scene.coarse, names={1: "disc"})
    axes = result.plot()
    assert len(axes.images) == 1
    assert result.plot(axes) is axes
    with PIL.Image.open(io.BytesIO(result._repr_png_())) as picture:
        drawn = np.asarray(picture)
        assert picture.format == "PNG"
    result.save(tmp_path / "look.png", drawing=True)
    with PIL.Image.open(tmp_path / "look.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), drawn)
    result.save(str(tmp_path / "look.jpg"), drawing=True)
    with PIL.Image.open(tmp_path / "look.jpg") as picture:
        assert picture.format == "JPEG"
    text = repr(result)
    assert "64 x 96" in text
    assert "2 of 2 objects" in text
    assert "\n" not in text
    shown = []
    monkeypatch.setattr(PIL.ImageShow, "show", lambda *a, **k: shown.append(a) or True)
    result.show()
    assert len(shown) == 1
    monkeypatch.setattr(PIL.ImageShow, "show", lambda *a, **k: False)
    with pytest.raises(InputError, match="drawing=True"):
        result.show()
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ConfigError, match="pip install"):
        result.plot()


def test_decisions_are_a_frame(refiner: uosam.Refiner, scene: Scene) -> None:
    frame = refiner(scene.image, scene.coarse, names={2: "box"}).decisions
    assert frame.columns.to_list() == [
        "label", "name", "round", "accepted", "reason", "score", "agreement", "area", "answer",
        "gain",
    ]  # fmt: skip
    assert dict(zip(frame["label"], frame["name"], strict=True)) == {1: "", 2: "box"}
    assert frame["accepted"].all()
    empty = refiner(scene.image, np.zeros((64, 96), np.uint8)).decisions
    assert len(empty) == 0
    assert "reason" in empty.columns


def test_arrays_are_saved_in_the_narrowest_grey(
    refiner: uosam.Refiner, scene: Scene, tmp_path: Path
) -> None:
    path = tmp_path / "out.png"
    for mask, mode, dtype in (
        (scene.coarse, "L", np.uint8),
        (scene.coarse.astype(np.int64) * 200, "I;16", np.uint16),
        (scene.coarse == 1, "1", bool),
    ):
        result = refiner(scene.image, mask)
        result.save(path)
        with PIL.Image.open(path) as written:
            assert written.mode == mode
            np.testing.assert_array_equal(np.asarray(written).astype(dtype), result.labels)
        result.save(path.with_suffix(".npz"))
        with np.load(path.with_suffix(".npz")) as archive:
            assert archive["arr_0"].dtype == mask.dtype
    unknown = scene.coarse.copy()
    unknown[:3] = -1
    refiner(scene.image, unknown).save(path)
    assert (read_labels(path).labels[:3] == IGNORE).all()
    with pytest.raises(InputError, match="drawing=True"):
        result.save(tmp_path / "mask.jpg")
    with pytest.raises(InputError, match=r"\.png or \.jpg"):
        result.save(tmp_path / "look.gif", drawing=True)


def test_the_package_is_imported_at_once() -> None:
    code = (
        "import resource, sys\n"
        "def used():\n    r = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    return r.ru_utime + r.ru_stime\n"
        "start = used()\nimport uosam\nprint(used() - start)\n"
        "assert 'refine' in dir(uosam)\n"
        "assert not {'numpy', 'torch', 'uosam.api'} & set(sys.modules)"
    )
    best = 1.0
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO
        )
        assert done.returncode == 0, done.stderr
        best = min(best, float(done.stdout))
        time.sleep(0.01)
    assert best < 0.1
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        uosam.nosuch  # noqa: B018


def test_a_guide_is_where_proposals_are_found(scene: Scene) -> None:
    noise = np.random.default_rng(1).integers(0, 256, scene.image.shape).astype(np.uint8)
    clean = np.array([[0, 0, 0], [90, 90, 90], [200, 200, 200]], np.uint8)[scene.target]
    settings = {"grid": 8, "min_purity": 0.0, "protect": False}
    refiner = uosam.Refiner("tests.fakes:load", global_region=settings, prompts={"min_area": 1.0})
    alone = refiner(noise, scene.coarse)
    for guide in (clean, clean / 255.0, Guide(image=clean)):
        guided = refiner(noise, scene.coarse, guide=guide)
        assert (guided.ids == scene.target).mean() > max(0.99, (alone.ids == scene.target).mean())
    same = uosam.refine(
        noise,
        scene.coarse,
        "tests.fakes:load",
        guide=clean,
        global_region=settings,
        prompts={"min_area": 1.0},
    )
    assert np.array_equal(same.ids, guided.ids)


def test_a_folder_of_depth_is_for_folders() -> None:
    with pytest.raises(ConfigError, match="give the rendered depth as the guide"):
        uosam.Refiner("tests.fakes:load", depth={"folder": "depth"})
