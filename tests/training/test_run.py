"""A whole run: it learns, goes on after a kill to the same result, and says what is wrong."""

from __future__ import annotations

import csv
import math
import signal
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.fakes import FakeBackend
from uosam.backends import BackendOptions
from uosam.backends.sam.backend import load
from uosam.cli import build_app
from uosam.errors import InputError
from uosam.pipeline import RefineOptions
from uosam.structures import IGNORE
from uosam.training.command import train
from uosam.training.data.prompting import Pattern
from uosam.training.log import Log
from uosam.training.loop import Run, check_same_run
from uosam.training.objective import Loss
from uosam.training.options import TrainOptions
from uosam.training.quality import find_objects, prompt_quality, refinement_quality
from uosam.training.schedule import Schedule, learning_rate
from uosam.training.validation import read_validation_sets

SMALL = TrainOptions(
    steps=6,
    start="random",
    side=64,
    pictures=1,
    prompts=2,
    final_side=64,
    final_pictures=1,
    final_share=0.34,
    warmup=1,
    weights={},
    workers=0,
    precision="float32",
    device="cpu",
    log_every=2,
    save_every=3,
    validate_every=6,
    validate_pictures=1,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def validation_data(tmp_path, scene):
    for kind, values in (("gt", scene.target), ("coarse", scene.coarse)):
        folder = tmp_path / "val" / "shapes" / kind
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "0.png"), values.astype(np.uint8))
    (tmp_path / "val" / "shapes" / "images").mkdir()
    cv2.imwrite(str(tmp_path / "val" / "shapes" / "images" / "0.jpg"), scene.image[..., ::-1])
    return tmp_path / "val"


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class KilledError(Exception):
    pass


def test_a_run_that_was_killed_ends_as_one_that_was_not(training_data, tmp_path):
    whole = train(training_data, tmp_path / "whole", SMALL, validation=None, on_line=print)

    def die(line: str) -> None:
        if line.startswith("4/"):
            raise KilledError

    with pytest.raises(KilledError):
        train(training_data, tmp_path / "cut", SMALL, validation=None, on_line=die)
    # The weights of the last checkpoint are there, and not yet those of the whole run.
    assert (tmp_path / "cut" / whole.name).read_bytes() != whole.read_bytes()
    lines: list[str] = []
    again = train(training_data, tmp_path / "cut", SMALL, validation=None, on_line=lines.append)
    assert lines[0] == "going on at step 3"
    first, second = load_file(whole), load_file(again)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    # What was logged after the checkpoint is logged once.
    assert [row["step"] for row in rows(tmp_path / "cut" / "train.csv")] == ["2", "4", "6"]


def test_an_interrupted_run_keeps_what_it_has_done(training_data, tmp_path):
    def interrupt(line: str) -> None:
        if line.startswith("2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(training_data, tmp_path, SMALL, validation=None, on_line=interrupt)
    assert Run(tmp_path, SMALL).step == 2


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_finishes_its_step(training_data, tmp_path, kind):
    before = signal.getsignal(kind)

    def stop(line: str) -> None:
        if line.startswith("4/"):
            signal.raise_signal(kind)

    with pytest.raises(KeyboardInterrupt):
        train(training_data, tmp_path, SMALL, validation=None, on_line=stop)
    assert Run(tmp_path, SMALL).step == 4
    assert (tmp_path / "tiny.safetensors").is_file()
    assert signal.getsignal(kind) is before


def test_a_run_that_is_told_twice_stops_at_once(training_data, tmp_path):
    def stop(line: str) -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train(training_data, tmp_path, SMALL, validation=None, on_line=stop)
    assert (tmp_path / "tiny.safetensors").is_file()


def test_a_run_by_the_clock_ends_in_time_with_a_low_rate(training_data, tmp_path, monkeypatch):
    # Whatever the machine, a step takes six seconds of sixty.
    now = [0.0]
    monkeypatch.setattr("uosam.training.schedule.time.monotonic", lambda: now[0])

    def tick(line: str) -> None:
        now[0] += 6

    options = replace(SMALL, minutes=1, log_every=1, save_every=1000, decay=0.8)
    train(training_data, tmp_path, options, validation=None, on_line=tick)
    found = rows(tmp_path / "train.csv")
    assert len(found) == 11
    assert Run(tmp_path, options).step == 11
    assert float(found[-1]["rate"]) < 0.2 * max(float(row["rate"]) for row in found)
    # It is over: going on adds nothing.
    train(training_data, tmp_path, options, validation=None, on_line=tick)
    assert len(rows(tmp_path / "train.csv")) == len(found)


def test_the_clock_decides_about_rate_and_crops(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    options = replace(SMALL, minutes=2, final_share=0.25)
    schedule = Schedule(options, before=30.0)
    assert schedule.done(999) == pytest.approx(0.25)
    assert not schedule.last(999)
    now[0] += 60
    assert schedule.done(0) == pytest.approx(0.75)
    assert schedule.last(0)
    assert schedule.words(7) == "7 at 1.50/2 min"
    now[0] += 30
    assert schedule.done(0) == pytest.approx(1.0)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    log = Log(tmp_path / "train.csv", print)
    none = torch.full((1,), torch.nan)
    loss = Loss(total=none.sum(), chosen=none, single=none, error=none)
    log.said.append((Pattern(mask=True), torch.zeros(1, dtype=torch.bool), loss, None))
    with pytest.raises(InputError, match="the loss at step 5 is no number"):
        log.write(5, "5/6", 0.1)


def test_a_run_learns(training_data, tmp_path):
    options = replace(
        SMALL, steps=80, side=64, final_share=0.0, log_every=20, mask_share=1.0, save_every=100,
        learning_rate=3e-3, decay=0.5, pictures=2,
    )  # fmt: skip
    train(training_data, tmp_path, options, validation=None, on_line=print)
    losses = [float(row["loss"]) for row in rows(tmp_path / "train.csv")]
    assert losses[-1] < 0.7 * losses[0]


def test_other_settings_do_not_mix(training_data, tmp_path):
    train(training_data, tmp_path, SMALL, validation=None, on_line=print)
    with pytest.raises(InputError, match=r"other settings \(learning_rate 0.0008 -> 0.1\)"):
        Run(tmp_path, replace(SMALL, learning_rate=0.1))
    assert Run(tmp_path, replace(SMALL, workers=3)).step == 6


def test_a_run_may_be_made_longer_until_its_rate_falls(tmp_path):
    stored = {"steps": 100, "decay": 0.4, "final_share": 0.3}
    options = TrainOptions(steps=200, decay=0.4)
    plain = vars(options) | stored
    plain["ignored"] = {source: list(ids) for source, ids in options.ignored.items()}
    plain["all_regions"] = list(options.all_regions)
    check_same_run(plain, options, 60, tmp_path)
    with pytest.raises(InputError, match="steps 100 -> 200"):
        check_same_run(plain, options, 61, tmp_path)


def test_the_rate_rises_stays_and_falls():
    options = TrainOptions(steps=1000, warmup=100, decay=0.5, learning_rate=2.0)
    rates = [learning_rate(step, step / 1000, options) for step in range(1000)]
    assert rates[:100] == pytest.approx([2 * (i + 1) / 100 for i in range(100)])
    assert rates[100:500] == pytest.approx([2.0] * 400)
    fall = [2 * (0.01 + 0.99 * (1 + math.cos(math.pi * i / 500)) / 2) for i in range(500)]
    assert rates[500:] == pytest.approx(fall)


def test_trained_weights_load_as_the_tiny_model(training_data, validation_data, tmp_path, scene):
    out = tmp_path / "run"
    result = CliRunner().invoke(
        build_app(),
        [
            *("train", str(training_data), str(out), "--validation", str(validation_data)),
            *("-s", "train.steps=2", "-s", "train.side=64", "-s", "train.pictures=1"),
            *("-s", "train.final_side=64", "-s", "train.final_pictures=1", "--device", "cpu"),
            *("-s", "train.workers=0", "-s", "train.weights={shapes: 1.0}"),
            *("-s", "train.start=random"),
        ],
    )
    assert result.exit_code == 0, result.output
    assert f"weights   {out / 'tiny.safetensors'}" in result.stdout
    assert (out / "tiny.safetensors").stat().st_size < 12e6
    backend = load(BackendOptions(name="tiny", checkpoint=str(out / "tiny.safetensors")))
    assert backend.embed(scene.image).features.shape == (128, 64, 64)
    [row] = rows(out / "validation.csv")
    assert 0.5 < float(row["shapes coarse"]) < 1
    assert 0 <= float(row["shapes click"]) <= float(row["shapes click oracle"]) <= 1


def test_the_command_knows_its_settings(tmp_path):
    result = CliRunner().invoke(build_app(), ["train", ".", str(tmp_path), "-s", "trane.steps=2"])
    assert result.exit_code != 0
    assert "trane" in str(result.exception)


def test_quality_of_a_model_that_is_right(scene):
    asked = prompt_quality([(scene.image, scene.target)], FakeBackend(), 0)
    assert asked["objects"] == 2
    assert asked["click"] == pytest.approx(1.0, abs=0.02)
    assert asked["click oracle"] >= asked["click"]
    refined = refinement_quality(
        [(scene.image, scene.target, scene.coarse)], FakeBackend(), RefineOptions(), 0
    )
    assert refined["coarse"] < 0.9
    assert refined["refined"] > refined["coarse"]


def test_quality_without_objects_is_undefined(scene):
    empty = np.zeros_like(scene.target)
    asked = prompt_quality([(scene.image, empty)], FakeBackend(), 0)
    assert asked["objects"] == 0
    assert math.isnan(asked["click"])
    triples = [(scene.image, empty, empty)]
    assert math.isnan(refinement_quality(triples, FakeBackend(), RefineOptions(), 0)["coarse"])


def test_objects_are_connected_parts_of_classes(scene):
    target = scene.target.copy()
    target[40:, :] = IGNORE
    target[2:6, 2:6] = 2
    assert len(find_objects(target, 0)) == 3
    assert len(find_objects(target, None)) == 4


def test_a_folder_without_sets_is_one_line(tmp_path):
    with pytest.raises(InputError, match="must hold SET/images"):
        read_validation_sets(tmp_path, None)


def test_a_run_does_not_go_into_its_data(training_data, tmp_path):
    line = ["train", str(training_data), str(training_data / "run")]
    result = CliRunner().invoke(build_app(), line)
    assert "output folder" in str(result.exception)
    assert "must not be or lie in" in str(result.exception)
    assert not (training_data / "run").exists()
