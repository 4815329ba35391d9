"""Processor time of the processes that a program starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import workers

_PARENT = """
import subprocess, sys
burn = "import time\\nwhile time.process_time() < 0.3: pass\\nprint(1, flush=True); input()"
child = subprocess.Popen([sys.executable, "-c", burn], stdin=sys.stdin, stdout=sys.stdout)
child.wait()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not say")
def test_the_time_of_a_child_is_its_own():
    line = [sys.executable, "-c", _PARENT]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        (child,) = workers._children(program.pid)
        assert workers._used(child) >= 0.25
        assert workers._children(child) == []
        program.communicate(b"\n")
    assert workers._children(child) == []
    assert workers._used(child) == 0


def test_copies_are_pairs(tmp_path):
    workers.write_copies(tmp_path, 3)
    names = [
        sorted(file.stem for file in (tmp_path / part).iterdir()) for part in ("images", "masks")
    ]
    assert names == [["0000", "0001", "0002"]] * 2
