"""A student learns known maps, goes on after a stop to the same bits, and says what is wrong."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from uosam.backends.student.model import load
from uosam.cli import build_app
from uosam.errors import ConfigError, InputError
from uosam.io.codecs import LabelOptions, read_labels
from uosam.io.images import read_image
from uosam.training.student.command import retrain
from uosam.training.student.options import StudentOptions

pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")

SMALL = StudentOptions(
    side=64,
    crop=64,
    start="random",
    pictures=4,
    views=1,
    least_steps=40,
    most_steps=40,
    learning_rate=1e-2,
    average=0.8,
    check_every=10,
    device="cpu",
)
COLOURS = np.array([[220, 40, 40], [40, 200, 40], [40, 60, 220]], np.uint8)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path):
    """Ten pictures of three colours; every mask has a square of a wrong id somewhere."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks", "true", "sure"):
        (tmp_path / kind).mkdir()
    for i in range(10):
        true = np.zeros((64, 64), np.uint8)
        cut = int(rng.integers(20, 44))
        true[:, cut:] = 1
        true[int(rng.integers(30, 44)) :, : cut - 4] = 2
        image = COLOURS[true].astype(int) + rng.normal(0, 12, (64, 64, 3))
        cv2.imwrite(
            str(tmp_path / f"images/{i}.png"), image.clip(0, 255).astype(np.uint8)[..., ::-1]
        )
        mask, sure = true.copy(), np.full((64, 64), 255, np.uint8)
        y, x = rng.integers(0, 44, 2)
        wrong = np.s_[y : y + 20, x : x + 20]
        mask[wrong] = (true[wrong] + 1 + i) % 3
        sure[wrong] = 60
        for kind, values in (("masks", mask), ("true", true), ("sure", sure)):
            cv2.imwrite(str(tmp_path / f"{kind}/{i}.png"), values)
    return tmp_path


def right(folder, score) -> tuple[float, float]:
    """Return the share of pixels that are right in the masks, and in what a model says."""
    given, said = [], []
    for path in sorted((folder / "true").iterdir()):
        true, mask = (read_labels(folder / k / path.name).labels for k in ("true", "masks"))
        given.append((mask == true).mean())
        image = read_image(folder / "images" / path.name)
        said.append((score(image).argmax(axis=0) == true).mean())
    return float(np.mean(given)), float(np.mean(said))


def test_it_learns_what_the_masks_mean_and_not_their_mistakes(folder):
    options = replace(SMALL, patience=60)
    lines = []
    taught = retrain(
        folder / "images",
        folder / "masks",
        folder / "out",
        options,
        labels=LabelOptions(background="none"),
        confidence=folder / "sure",
        on_line=lines.append,
    )
    assert (taught.pictures, taught.ids, taught.steps) == (10, 3, 40)
    assert 0.5 < taught.agreement < 1
    assert len(lines) == 4
    score = load(taught.weights, device="cpu")
    before, after = right(folder, score)
    assert before < 0.96
    assert after > before
    mended = []
    for path in sorted((folder / "true").iterdir()):
        true, mask = (read_labels(folder / k / path.name).labels for k in ("true", "masks"))
        said = score(read_image(folder / "images" / path.name)).argmax(axis=0)
        mended.append((said == true)[true != mask])
    assert np.concatenate(mended).mean() > 0.85  # what is wrong elsewhere lies along outlines


class Stop:
    """Ask the process to stop at the n-th line of the log, as Ctrl-C does."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, line: str) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("finetune", "precision"),
    [(False, "float32"), pytest.param(True, "bfloat16", marks=pytest.mark.slow)],
)
def test_a_stopped_run_goes_on_to_the_same_bits(folder, finetune, precision):
    options = replace(
        SMALL,
        finetune=finetune,
        precision=precision,
        pictures=2,
        least_steps=4,
        most_steps=4,
        check_every=2,
    )
    places = folder / "images", folder / "masks"
    whole = retrain(*places, folder / "whole", options)
    with pytest.raises(KeyboardInterrupt):
        retrain(*places, folder / "parts", options, on_line=Stop(1))
    assert not (folder / "parts" / "student.safetensors").exists()
    lines = []
    # What is kept in memory changes nothing.
    parts = retrain(*places, folder / "parts", replace(options, cache_gb=0.0), on_line=lines.append)
    assert lines[0] == "going on at step 2"
    assert parts.weights.read_bytes() == whole.weights.read_bytes()
    logs = [(folder / name / "retrain.csv").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    # A run that is over is over.
    first = whole.weights.read_bytes()
    again = retrain(*places, folder / "whole", options, on_line=lines.append)
    assert whole.weights.read_bytes() == first
    assert again == replace(whole, weights=again.weights)


def test_it_stops_when_it_agrees_no_better(folder):
    options = replace(SMALL, learning_rate=1e-12, patience=2, check_every=2)
    taught = retrain(folder / "images", folder / "masks", folder / "out", options)
    # The first check is the best, and none of the next two is better.
    assert taught.steps == 6


def test_the_command_and_its_model(folder):
    def run(*arguments):
        return CliRunner().invoke(build_app(), list(map(str, arguments)))

    small = [
        f"student.{key}={getattr(SMALL, key)}"
        for key in ("side", "crop", "start", "pictures", "views", "device", "learning_rate")
    ]
    small += ["student.least_steps=4", "student.most_steps=4"]
    sets = [part for text in small for part in ("-s", text)]
    places = folder / "images", folder / "masks", folder / "out"
    result = run("retrain", *places, *sets, "--background", "none", "--confidence", folder / "sure")
    assert result.exit_code == 0, result.output
    assert "10 pictures, 3 ids, 4 steps; agreement with masks not taught" in result.output
    weights = folder / "out" / "student.safetensors"
    model = ["--model", "student", "--checkpoint", weights]
    assert f"--checkpoint {weights}" in result.output.replace("\n", "")
    labelled = run("coarse", folder / "images", folder / "again", *model, "--device", "cpu")
    assert labelled.exit_code == 0, labelled.output
    assert "REFINED --background none" in labelled.output
    assert len(list((folder / "again").glob("*.png"))) == 10
    other = run("retrain", *places, "-s", "train.steps=3")
    assert "unknown config section 'train'" in str(other.exception)


def test_faults(folder):
    images, masks, out = folder / "images", folder / "masks", folder / "out"
    few = replace(SMALL, least_steps=2, most_steps=2)
    with pytest.raises(ConfigError, match=r"output folder .* must not be or lie in"):
        retrain(images, masks, masks / "out", few)
    retrain(images, masks, out, few)
    with pytest.raises(InputError, match=r"other settings \(epochs 40 -> 41\); use them"):
        retrain(images, masks, out, replace(few, epochs=41))
    with pytest.raises(InputError, match="of a run with other pictures or masks"):
        retrain(images, folder / "true", out, few)
    with pytest.raises(InputError, match=r"expected an 8-bit confidence map .* got none"):
        retrain(images, masks, folder / "new", few, confidence=folder / "nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="needs pictures with masks, found no pair"):
        retrain(images, folder / "empty", folder / "new", few)
    for path in masks.iterdir():
        cv2.imwrite(str(path), np.zeros((64, 64), np.uint8))
    with pytest.raises(InputError, match=r"masks of two ids or more, got \[0\]"):
        retrain(images, masks, folder / "new", few)
    for path in masks.iterdir():
        cv2.imwrite(str(path), np.eye(64, dtype=np.uint8))
    with pytest.raises(InputError, match="the loss at step 2 is no number; lower"):
        retrain(images, masks, folder / "new", replace(few, learning_rate=1e30))
