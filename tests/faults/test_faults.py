"""A short run of what ``make faults`` does at length."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults import kills, mutations

KINDS = mutations.kinds()
SOUND = {name: kind.make() for name, kind in KINDS.items()}


@given(name=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_damaged_inputs_are_read_or_refused_in_one_line(tmp_path_factory, name, seed):
    folder = tmp_path_factory.mktemp("input", numbered=True)
    data = mutations.mutate(SOUND[name], random.Random(seed))
    assert mutations.attempt(KINDS[name], data, folder) in ("read", "refused")


@pytest.mark.parametrize("name", sorted(KINDS))
def test_sound_inputs_are_read(tmp_path, name):
    assert mutations.attempt(KINDS[name], SOUND[name], tmp_path) == "read"


def test_the_harness_sees_a_traceback_and_a_hang(tmp_path, monkeypatch):
    def wait(path):
        while True:
            pass

    monkeypatch.setattr(mutations, "LIMIT", 1)
    hang = mutations.Kind(".x", bytes, wait)
    assert mutations.attempt(hang, b"", tmp_path) == "hang"
    crash = mutations.Kind(".x", bytes, lambda path: 1 / 0)
    assert "ZeroDivisionError" in mutations.attempt(crash, b"", tmp_path)


def test_killed_runs_end_as_if_unkilled():
    found = kills.run(6)
    assert found["kills"] == 6
    assert not found["torn"]
    assert not found["failed"]


def test_the_harness_sees_a_torn_file():
    whole = {"a.png": b"whole", "b.png": b"b"}
    assert kills.torn({"a.png": b"who"}, whole) == 1
    assert kills.torn({"a.png": b"whole", ".uosam-0.tmp": b"x"}, whole) == 0
