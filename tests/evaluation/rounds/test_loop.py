"""A whole loop on pictures of three colours: what it writes, what it keeps, how it goes on."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from uosam.backends import BackendOptions
from uosam.cli import build_app
from uosam.config import Config
from uosam.errors import ConfigError, InputError
from uosam.evaluation.rounds.loop import LoopOptions, run_loop
from uosam.evaluation.rounds.page import to_html
from uosam.io.codecs import LabelOptions, read_labels
from uosam.training.student.options import StudentOptions

pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")

STUDENT = StudentOptions(
    side=64,
    crop=64,
    start="random",
    pictures=2,
    views=0,
    least_steps=12,
    most_steps=12,
    learning_rate=1e-2,
    average=0.5,
    check_every=6,
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
    """Four pictures of three flat colours, and masks whose borders are off."""
    for kind in ("images", "masks", "true"):
        (tmp_path / kind / "sub").mkdir(parents=True)
    for i in range(4):
        true = np.zeros((64, 64), np.uint8)
        true[:, 24 + 2 * i :] = 1
        true[40:, : 20 + 2 * i] = 2
        for kind, values in (("true", true), ("masks", np.roll(true, 3, axis=1))):
            cv2.imwrite(str(tmp_path / f"{kind}/sub/{i}.png"), values)
        cv2.imwrite(str(tmp_path / f"images/sub/{i}.png"), COLOURS[true][..., ::-1])
    return tmp_path


def from_masks(folder, **changes):
    config = Config(
        backend=BackendOptions(name="tests.fakes:load"), labels=LabelOptions(background="none")
    )
    options = LoopOptions(rounds=1, masks=folder / "masks", config=config, student=STUDENT)
    return replace(options, **changes)


def right(folder, masks):
    shares = [
        (read_labels(masks / "sub" / path.name).labels == read_labels(path).labels).mean()
        for path in sorted((folder / "true" / "sub").iterdir())
    ]
    return float(np.mean(shares))


def test_a_loop_writes_one_record_and_goes_on_from_it(folder):
    out = folder / "out"
    result = run_loop(folder / "images", out, from_masks(folder))
    assert [entry.number for entry in result.rounds] == [0, 1]
    assert result.rounds[0].agreement is None
    assert 0 < result.rounds[1].agreement <= 1
    assert result.rounds[1].moved == ()
    assert not result.failures
    before, after = (right(folder, place) for place in (folder / "masks", out / "masks"))
    assert before < 0.95 < after
    lines = [json.loads(line) for line in (out / "loop.jsonl").read_text().splitlines()]
    assert lines[0]["rounds"] == 1
    assert [line["round"] for line in lines[1:3]] == [0, 1]
    pictures = lines[3:]
    assert [line["name"] for line in pictures] == [f"sub/{i}" for i in range(4)]
    for line in pictures:
        stored = (out / "masks" / f"{line['name']}.png").read_bytes()
        kept = read_labels(out / "masks" / f"{line['name']}.png").labels
        refined = [
            read_labels(out / f"round-{n}" / "refined" / f"{line['name']}.png").labels
            for n in (0, 1)
        ]
        assert ((kept == refined[0]) | (kept == refined[1])).all()
        shares = [float((kept == own).mean()) for own in refined]
        assert line["by_round"][-1]["shares"] == pytest.approx(shares, abs=1e-4)
        assert stored == (out / "round-1" / "kept" / f"{line['name']}.png").read_bytes()
    # The same call does nothing again.
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("refined/sub/*.png")}
    again = run_loop(folder / "images", out, from_masks(folder))
    assert again.rounds == result.rounds
    assert stamps == {p: p.stat().st_mtime_ns for p in stamps}


def test_a_loop_that_was_stopped_ends_as_one_that_was_not(folder):
    options = from_masks(folder)
    run_loop(folder / "images", folder / "whole", options)

    def stop(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_loop(folder / "images", folder / "out", options, on_line=stop)
    assert not (folder / "out" / "masks").exists()
    run_loop(folder / "images", folder / "out", options)
    for path in sorted((folder / "whole").rglob("*.png")):
        other = folder / "out" / path.relative_to(folder / "whole")
        assert path.read_bytes() == other.read_bytes(), path


def test_without_refining_the_masks_are_those_of_the_models(folder):
    out = folder / "out"
    result = run_loop(folder / "images", out, from_masks(folder, refines=False))
    assert not (out / "round-0" / "refined").exists()
    assert result.rounds[0].refiner == 1
    first = out / "round-0" / "kept" / "sub" / "0.png"
    np.testing.assert_array_equal(
        read_labels(first).labels, read_labels(folder / "masks" / "sub" / "0.png").labels
    )


def test_a_student_that_is_refused_ends_the_loop(folder, monkeypatch):
    """A rate of nothing, and weights to begin with that say one id alone."""
    monkeypatch.setattr(
        "uosam.training.student.run.class_means",
        lambda views, classes: [torch.zeros(classes, c) for c in (40, 112, 320)],
    )
    lazy = replace(STUDENT, learning_rate=1e-12)
    options = from_masks(folder, rounds=2, student=lazy)
    result = run_loop(folder / "images", folder / "out", options)
    assert [entry.number for entry in result.rounds] == [0]
    assert result.refused == "ids that it was taught are gone: 1, 2"
    assert json.loads((folder / "out/loop.jsonl").read_text().splitlines()[0])["refused"]
    for path in sorted((folder / "out/round-0/kept/sub").glob("*.png")):
        assert path.read_bytes() == (folder / "out/masks/sub" / path.name).read_bytes()
    page = to_html(result, options.config.labels)
    assert "The next student was not used: ids that it was taught are gone: 1, 2." in page
    free = run_loop(folder / "images", folder / "free", replace(options, guards=False))
    assert [entry.number for entry in free.rounds] == [0, 1, 2]
    assert free.refused == ""


def test_a_bad_picture_is_told_and_the_rest_goes_on(folder):
    (folder / "images" / "sub" / "3.png").write_bytes(b"no picture")
    result = run_loop(folder / "images", folder / "out", from_masks(folder, rounds=0))
    assert list(result.failures) == ["sub/3"]
    assert len(list((folder / "out" / "masks" / "sub").iterdir())) == 3
    for path in (folder / "images" / "sub").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="no picture came through round 0: "):
        run_loop(folder / "images", folder / "new", from_masks(folder, rounds=0))


def test_the_command_from_pictures_alone(folder):
    def run(*arguments):
        return CliRunner().invoke(build_app(), ["loop", *map(str, arguments)])

    names = ("side", "crop", "start", "pictures", "views", "least_steps", "most_steps")
    sets = [f"student.{name}={getattr(STUDENT, name)}" for name in names]
    sets += ["backend.name=tests.fakes:load", "clusters.backend=tests.coarse_models:backend"]
    arguments = [part for text in sets for part in ("-s", text)]
    arguments += ["--k", "3", "--rounds", "1", "--device", "cpu"]
    result = run(folder / "images", folder / "out", *arguments)
    assert result.exit_code == 0, result.output
    assert "round 1:" in result.output
    page = (folder / "out" / "loop.html").read_text()
    assert page.count("<figure") == 4 * 6  # picture, two masks a round, what was kept
    assert "round 1, refined" in page
    assert "sub/0" in page
    other = run(folder / "images", folder / "out", *arguments, "-s", "clusters.seed=5")
    assert str(other.exception).endswith("; give another output folder")
    assert "holds results of other settings" in str(other.exception)
    neither = run(folder / "images", folder / "o2")
    assert isinstance(neither.exception, ConfigError)
    assert "give --k K or --from MASKS" in str(neither.exception)
    inside = run(folder / "images", folder / "images" / "out", "--k", "3")
    assert "must not be or lie in" in str(inside.exception)
    (folder / "empty").mkdir()
    none = run(folder / "images", folder / "o2", "--from", folder / "empty", "--rounds", "0")
    assert "expected masks of pictures in" in str(none.exception)
    ours = run(
        folder / "images", folder / "o2", "--from", folder / "masks", "-s", "clusters.over=2"
    )
    assert "clusters.KEY is a setting of k-means" in str(ours.exception)
    with pytest.raises(ConfigError, match="rounds must be at least 0, got -1"):
        LoopOptions(rounds=-1, k=3)
