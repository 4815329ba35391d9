"""How many processes a folder is worth."""

from __future__ import annotations

import logging

import pytest
import torch

from uosam.backends import BackendOptions, processes
from uosam.backends.device import choose_device
from uosam.backends.processes import ENOUGH, choose_gpu, choose_workers, take_seat


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


def test_processes_take_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *shape, device: None)
    monkeypatch.setattr(processes, "_seat", 0)
    assert [choose_gpu(gpus) for gpus in (1, 2)] == [0, 0]
    take_seat(5)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda:1")
    assert choose_device("cuda:2") == torch.device("cuda:2")
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto") == torch.device("cuda")
