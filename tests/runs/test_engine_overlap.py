"""Reading, refining and writing overlap, and nothing that is written is forgotten."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.conftest import Scene
from uosam.config import load_config
from uosam.io.atomic import write_atomic
from uosam.io.pairs import find_pairs
from uosam.pipeline import refine
from uosam.runs import refine as steps_of
from uosam.runs import task
from uosam.runs.refine import refine_folder
from uosam.runs.summary import Run

COUNT = 4


@pytest.fixture
def folders(tmp_path: Path, scene: Scene) -> Path:
    for index in range(COUNT):
        for kind, array in (("images", scene.image), ("masks", scene.coarse.astype(np.uint8))):
            path = tmp_path / kind / f"p{index}.png"
            path.parent.mkdir(exist_ok=True)
            PIL.Image.fromarray(np.roll(array, index, axis=1)).save(path)
    return tmp_path


def run(root: Path, seen: list[str] | None = None) -> Run:
    pairs = find_pairs(root / "images", root / "masks")
    config = load_config(overrides=["backend.name=tests.fakes:load"])
    names = [] if seen is None else seen
    return refine_folder(
        pairs, root / "out", config, on_outcome=lambda outcome: names.append(outcome.row["name"])
    )


@pytest.mark.parametrize(("ahead", "behind"), [("refine", "put"), ("read_for_mask", "refine")])
def test_the_next_picture_is_begun_while_the_last_one_waits(
    folders: Path, monkeypatch: pytest.MonkeyPatch, ahead: str, behind: str
) -> None:
    owners = {"refine": steps_of, "read_for_mask": steps_of, "put": task}
    steps = {name: getattr(owners[name], name) for name in (ahead, behind)}
    begun = [threading.Event() for _ in range(COUNT + 1)]
    begun[COUNT].set()  # nothing comes after the last one
    events = iter(begun)

    def noted(*arguments: object, **settings: object) -> object:
        next(events).set()
        return steps[ahead](*arguments, **settings)

    together = []

    def patient(*arguments: object, **settings: object) -> object:
        together.append(begun[len(together) + 1].wait(10))
        return steps[behind](*arguments, **settings)

    monkeypatch.setattr(owners[ahead], ahead, noted)
    monkeypatch.setattr(owners[behind], behind, patient)
    names: list[str] = []
    assert dict(run(folders, names).failures) == {}
    assert together == [True] * COUNT
    assert names == [f"p{index}" for index in range(COUNT)]


def test_what_was_written_before_an_interruption_is_recorded(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def interrupted(*arguments: object, **settings: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return refine(*arguments, **settings)  # type: ignore[arg-type]

    names: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(steps_of, "refine", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(folders, names)
    assert names == ["p0", "p1"]
    assert run(folders).skipped == 2


def test_a_picture_that_cannot_be_written_fails_alone(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        if path.name == "p1.png":
            raise OSError(28, "No space left on device", str(path))
        write_atomic(path, data)

    monkeypatch.setattr(task, "put", full)
    done = run(folders)
    assert list(done.failures) == ["p1"]
    assert "No space left on device" in done.failures["p1"]
    assert sum(done.status.values()) == COUNT - 1
