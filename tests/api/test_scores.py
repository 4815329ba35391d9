"""Scores from Python are those of the command line, whatever holds the masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import uosam
from tests.conftest import Scene
from uosam.errors import ConfigError, InputError
from uosam.evaluation.export import Outputs, to_json, write_outputs


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    """Twelve predictions and truths of three classes."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 3, (12, 6, 8)).repeat(6, axis=1).repeat(6, axis=2)
    pred = coarse.copy()
    wrong = rng.random(pred.shape) < 0.1
    pred[wrong] = (pred[wrong] + 1) % 3
    return pred, coarse


def test_arrays_score_as_folders_do(maps: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    for name, stack in zip(("pred", "gt"), maps, strict=True):
        (tmp_path / name).mkdir()
        for index, labels in enumerate(stack.astype(np.uint8)):
            PIL.Image.fromarray(labels).save(tmp_path / name / f"{index:03d}.png")
    folders = uosam.evaluate(tmp_path / "pred", str(tmp_path / "gt"), trimap=[2])
    arrays = uosam.evaluate(*maps, trimap=[2])
    assert folders.scores == arrays.scores
    assert "trimap_2_mIoU" in arrays.scores
    assert arrays.methods[0].intervals == folders.methods[0].intervals
    assert "12 images" in str(arrays)
    assert arrays._repr_markdown_().count("|") > 10
    several = uosam.evaluate([tmp_path / "pred", tmp_path / "gt"], tmp_path / "gt")
    assert [method.name for method in several.methods] == ["pred", "gt"]
    assert several.methods[1].values["mIoU"] == 1
    assert several.scores == {k: v for k, v in folders.scores.items() if "trimap" not in k}
    assert '"path": null' in to_json(arrays)
    with pytest.raises(InputError, match="give folders"):
        write_outputs(arrays, Outputs(gallery=tmp_path / "gallery"))


def test_batches_of_every_kind_add_up(maps: tuple[np.ndarray, np.ndarray]) -> None:
    pred, target = maps
    one = uosam.Scores()
    one.update(pred, target)
    other = uosam.Scores()
    for p, t in zip(pred[:4], target[:4], strict=True):
        other.update(p, t)
    other.update(list(pred[4:6]), tuple(target[4:6]))
    other.update(torch.from_numpy(pred[6:8]), torch.from_numpy(target[6:8]))
    logits = np.stack([pred[8:10] == k for k in range(3)], axis=1).astype(np.float32)
    other.update(torch.from_numpy(logits), torch.from_numpy(target[8:10]))
    rest = uosam.Scores()
    rest.update(PIL.Image.fromarray(pred[10].astype(np.uint8)), target[10].astype(np.uint8))
    rest.update(pred[11], target[11])
    other.merge(rest)
    assert len(other) == 12
    assert other.compute() == one.compute()
    assert repr(other) == "Scores('plain', images=12)"
    assert one.evaluation().methods[0].intervals["mIoU"].level == 0.95
    other.reset()
    with pytest.raises(InputError, match="call update first"):
        other.compute()


def test_binary_masks_of_any_kind(scene: Scene) -> None:
    target = scene.target == 1
    pred = scene.coarse == 1
    expected = uosam.evaluate(pred, target).scores
    assert expected["object_IoU"] < 1
    for one, two in (
        (pred.astype(np.uint8) * 255, target.astype(np.uint8) * 255),
        (pred.astype(np.uint8) * 255, target),
        (pred.astype(np.int64), target.astype(np.uint8) * 255),
    ):
        assert uosam.evaluate(one, two).scores == expected
    nothing = np.zeros_like(target, np.uint8)
    assert uosam.evaluate(nothing, target.astype(np.uint8) * 255).scores["object_IoU"] == 0


def test_unknown_pixels_are_not_scored(scene: Scene) -> None:
    target = scene.target.astype(np.uint8)
    target[scene.coarse != scene.target] = 255
    assert uosam.evaluate(scene.coarse, target).scores["mIoU"] == 1
    scores = uosam.Scores()
    scores.update(scene.coarse, target, ignore=None)
    assert scores.compute()["mIoU"] < 1
    luss = scene.target.astype(np.int64)
    luss[scene.coarse != scene.target] = 1000
    assert uosam.evaluate(scene.coarse, luss, "luss-50").scores["pixel_accuracy"] == 1


def test_what_cannot_be_scored(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="for each of 2 ground truths, got 1"):
        uosam.evaluate([scene.coarse], [scene.target, scene.target])
    with pytest.raises(InputError, match="both as folders or both as arrays"):
        uosam.evaluate([scene.coarse], tmp_path)
    with pytest.raises(InputError, match="size"):
        uosam.evaluate(scene.coarse[:-1], scene.target)
    with pytest.raises(InputError, match="prediction: predicted ids must be 0 to 50"):
        uosam.evaluate(scene.coarse + 60, scene.target, "luss-50")
    with pytest.raises(InputError, match="ground truth: ground-truth ids"):
        uosam.evaluate(scene.coarse, scene.target + 60, "luss-50")
    with pytest.raises(ConfigError, match="unknown option of an evaluation 'trimaps'"):
        uosam.evaluate(tmp_path, tmp_path, trimaps=(1,))
    with pytest.raises(ConfigError, match="unknown protocol"):
        uosam.Scores("nosuch")
    with pytest.raises(ConfigError, match="reads files once more"):
        uosam.Scores(boundary_f=0.008)
    with pytest.raises(ConfigError, match="cannot be merged"):
        uosam.Scores().merge(uosam.Scores("luss-50"))
