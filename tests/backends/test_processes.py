"""How many processes a folder is worth."""

from __future__ import annotations

import logging

import pytest

from uosam.backends import BackendOptions, processes
from uosam.backends.processes import ENOUGH, choose_workers


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_cores", lambda: 4)


@pytest.mark.parametrize(
    ("asked", "pictures", "options", "expected"),
    [
        (3, 1, BackendOptions(), 3),
        ("auto", 5, BackendOptions(device="cpu"), 1),
        ("auto", 2 * ENOUGH - 1, BackendOptions(device="cpu"), 1),
        ("auto", 2 * ENOUGH, BackendOptions(device="cpu"), 2),
        ("auto", 100 * ENOUGH, BackendOptions(device="cpu"), 4),
        ("auto", 100 * ENOUGH, BackendOptions(name="graphcut"), 4),
        ("auto", 100 * ENOUGH, BackendOptions(name="vit_b", device="cpu"), 1),
        ("auto", 100 * ENOUGH, BackendOptions(name="hf"), 1),
        ("auto", 100 * ENOUGH, BackendOptions(name="tests.fakes:load"), 1),
    ],
)
def test_choice(asked: int, pictures: int, options: BackendOptions, expected: int) -> None:
    assert choose_workers(asked, pictures, options) == expected


def test_an_accelerator_works_for_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_computes_on_cpu", lambda device: False)
    assert choose_workers("auto", 100 * ENOUGH, BackendOptions()) == 1


def test_the_choice_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="uosam"):
        choose_workers("auto", 100 * ENOUGH, BackendOptions(device="cpu"))
    assert f"{100 * ENOUGH} pictures on 4 cores: 4 workers" in caplog.text
