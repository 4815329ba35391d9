"""How many processes a folder is worth."""

from __future__ import annotations

import logging
import subprocess
import sys

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


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_without_a_driver_the_choice_needs_no_torch(device: str) -> None:
    ask = (
        "import sys; from uosam.backends import BackendOptions, processes; "
        "processes._has_driver = lambda: False; "
        f"print(processes.may_fork(BackendOptions(device={device!r})), 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    elsewhere = sys.platform != "linux" and device == "auto"
    assert found.stdout.split() == ["True", str(elsewhere)]


def test_with_a_driver_torch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_has_driver", lambda: True)
    for kind in ("cuda", "cpu"):
        found = torch.device(kind)
        monkeypatch.setattr("uosam.backends.device.choose_device", lambda name, d=found: d)
        assert processes.may_fork(BackendOptions(device="auto")) == (kind == "cpu")


@pytest.mark.parametrize("there", [True, False])
def test_a_driver_is_a_library_that_loads(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    def load(name: str) -> None:
        if not there:
            raise OSError(name)

    monkeypatch.setattr(processes.os.path, "exists", lambda path: False)
    monkeypatch.setattr(processes.ctypes, "CDLL", load)
    assert processes._has_driver() is there


def test_a_device_of_amd_is_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.os.path, "exists", lambda path: path == "/dev/kfd")
    assert processes._has_driver()
