"""The loop and its rivals on four pictures of two colours: each begins with the same masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from benchmarks.loop_rivals import Run, begin, four_rounds, loop, samrefiner, samrefiner_loop
from uosam.backends import BackendOptions
from uosam.config import Config
from uosam.evaluation.rounds.choice import choose
from uosam.training.student.options import StudentOptions

pytest.importorskip("timm", reason="needs pip install 'uosam[imagenet]'")

STUDENT = StudentOptions(
    side=64,
    crop=64,
    start="random",
    pictures=2,
    views=0,
    least_steps=6,
    most_steps=6,
    check_every=6,
    device="cpu",
)
NAMES = [f"{i}.png" for i in range(4)]


@pytest.fixture
def run(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    true = np.zeros((64, 64), np.uint8)
    true[:, 24:] = 1
    for kind in ("images", "given", "gt"):
        (tmp_path / kind).mkdir()
    for i, name in enumerate(NAMES):
        own = np.roll(true, i, axis=0)
        picture = np.array([[40, 40, 220], [200, 90, 40]], np.uint8)[own]
        for kind, values in (("images", picture), ("gt", own), ("given", np.roll(own, 3, 1))):
            cv2.imwrite(str(tmp_path / kind / name), values)
    config = Config(backend=BackendOptions(name="tests.fakes:load"))
    yield Run(work=tmp_path, classes=2, rounds=1, config=config, student=STUDENT, given=True)
    torch.set_num_threads(before)


def read(folder, name):
    return cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED).astype(np.int32)


def test_the_loop_of_a_rival_is_the_loop_with_its_masks(run):
    assert begin(run) == {"given": (run.first, 0.0)}
    ours, notes = loop(run)
    theirs, told = samrefiner_loop(run)
    ends = ["round 1, coarse", "round 1, refined", "kept"]
    assert list(ours) == ["loop, round 0, refined", *(f"loop, {end}" for end in ends)]
    assert list(theirs) == [f"SAMRefiner loop, {end}" for end in ends]
    assert list(notes) == ["loop, round 1, coarse"]
    assert set(told["SAMRefiner loop, round 1, coarse"]) == {"agreement", "refused"}
    alone = samrefiner(run)[0]["SAMRefiner"][0]
    assert ours["loop, round 0, refined"][0] == run.refined
    for name in NAMES:
        first, last = read(alone, name), read(theirs["SAMRefiner loop, round 1, refined"][0], name)
        kept = read(theirs["SAMRefiner loop, kept"][0], name)
        # SAMRefiner tells no confidence: of two rounds that differ the newer is kept.
        np.testing.assert_array_equal(
            kept, choose([first, last], [np.ones(first.shape, np.float32)] * 2).labels
        )
        assert (read(run.refined, name) == read(run.work / "gt", name)).mean() > 0.95


def test_four_rounds_refine_and_teach_nothing(run):
    steps, notes = four_rounds(run)
    assert not notes
    folder, _ = steps["refined in four rounds"]
    assert sorted(path.name for path in folder.glob("*.png")) == NAMES
    assert not list(run.work.rglob("student"))
