"""The command line where streams are closed or full, and where nobody foresaw an error."""

import os
import subprocess
import sys

import pytest

from uosam import cli
from uosam.lookup import lookup


def uosam(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "uosam", *arguments], check=False, timeout=120, **options
    )


needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")


@needs_full
def test_a_full_disk_behind_standard_output_is_one_line():
    with open("/dev/full", "w") as full:
        found = uosam("config", stdout=full, stderr=subprocess.PIPE, text=True)
    assert found.returncode == 2
    assert found.stderr == "error: No space left on device; free space and run again\n"


@needs_full
def test_both_streams_full():
    with open("/dev/full", "w") as full:
        assert uosam("config", stdout=full, stderr=full).returncode == 2


def test_closed_streams():
    script = f'exec "{sys.executable}" -m uosam config >&- 2>&-'
    assert subprocess.run(["sh", "-c", script], check=False, timeout=120).returncode == 0


def run_main(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(cli, "build_app", lambda names: fail)
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "out/run.yaml"), "out/run.yaml: No space left"),
        (MemoryError(), "not enough memory"),
        (ImportError("a.so: failed to map segment from shared object"), "not enough memory"),
        (OSError(24, "Too many open files", "out"), "out: Too many open files; allow more"),
        (ZeroDivisionError("x"), "unexpected ZeroDivisionError at test_streams.py:"),
    ],
)
def test_errors_that_nobody_caught_are_one_line(monkeypatch, capsys, error, said):
    assert run_main(monkeypatch, error) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {said}")
    assert shown.count("\n") == 1
    monkeypatch.setenv("UOSAM_DEBUG", "1")
    with pytest.raises(type(error)):
        run_main(monkeypatch, error)


def test_a_module_that_memory_does_not_hold_is_not_called_misspelt(monkeypatch):
    def fail(name):
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    monkeypatch.setattr("uosam.lookup.importlib.import_module", fail)
    with pytest.raises(MemoryError):
        lookup("backend", "a:b", {})


def test_a_pipe_without_a_reader_is_quiet(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_drop", lambda stream: None)
    assert run_main(monkeypatch, BrokenPipeError(32, "Broken pipe")) == 141
    assert capsys.readouterr().err == ""
