"""Forked workers: the same bytes, one load, and no process that outlives the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.million import Nothing, make_files
from tests.trees import tree
from uosam.errors import BackendError
from uosam.io.pairs import find_pairs
from uosam.runs.engine import run_folder
from uosam.runs.manifest import MANIFEST
from uosam.runs.spread import workers as spread
from uosam.runs.spread.family import CAN_FORK
from uosam.runs.spread.ordered import in_order
from uosam.runs.task import Outcome
from uosam.structures import Sample

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="forks on Linux alone")
REPO = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True)
class Forking(Nothing):
    """Notes each load; a picture whose number is in ``deadly`` ends the process."""

    notes: Path
    fails: str = ""
    deadly: str = "none"
    processes: int = 2

    @property
    def forks(self) -> bool:
        """A loaded nothing may be shared."""
        return True

    def load(self) -> None:
        """Write down which process loads."""
        with self.notes.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if self.fails == "backend":
            raise BackendError("no such weights")
        if self.fails:
            raise ValueError("unforeseen")

    def compute(self, model: None, read: bytes) -> bytes:
        """Die if it is this one's turn, or wait."""
        if read.decode() == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().compute(model, read)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_files(tmp_path, 40, content=b"x")
    for index, path in enumerate(sorted((tmp_path / "masks").rglob("*.png"))):
        path.write_bytes(str(index).encode())
    return tmp_path


def test_a_family_writes_what_one_process_writes_and_loads_once(folder: Path) -> None:
    samples = find_pairs(folder / "images", folder / "masks").samples
    run_folder(Nothing(folder=folder / "one"), samples)
    names: list[str] = []
    task = Forking(folder=folder / "out", notes=folder / "loads")
    run = run_folder(task, samples, on_outcome=lambda outcome: names.append(outcome.row["name"]))
    assert run.status == {"copied": 40}
    assert names == sorted(names)
    assert tree(folder / "out") == tree(folder / "one")
    assert len((folder / "loads").read_text().split()) == 1
    # Nothing is left to do: no process, no model. One is: those before it are no one's work.
    assert run_folder(task, samples).skipped == 40
    assert len((folder / "loads").read_text().split()) == 1
    (folder / "out" / f"{names[30]}.png").unlink()
    assert run_folder(task, samples).skipped == 39
    assert len((folder / "loads").read_text().split()) == 2
    assert tree(folder / "out") == tree(folder / "one")


@pytest.mark.parametrize(
    ("fails", "error", "said"),
    [("backend", BackendError, "no such weights"), ("other", RuntimeError, "unforeseen")],
)
def test_a_model_that_does_not_load_ends_the_run(
    folder: Path, fails: str, error: type[Exception], said: str
) -> None:
    samples = find_pairs(folder / "images", folder / "masks").samples
    with pytest.raises(error, match=said):
        run_folder(Forking(folder=folder / "out", notes=folder / "n", fails=fails), samples)
    assert not list((folder / "out").iterdir())


def test_a_process_that_dies_loses_nothing_that_is_done(folder: Path) -> None:
    samples = find_pairs(folder / "images", folder / "masks").samples
    task = Forking(folder=folder / "out", notes=folder / "n", deadly="25")
    with pytest.raises(BackendError, match=r"a worker process died, .* fewer --workers"):
        run_folder(task, samples)
    again = run_folder(Nothing(folder=folder / "out"), samples)
    assert again.skipped >= 8
    run_folder(Nothing(folder=folder / "one"), samples)
    assert tree(folder / "out") == tree(folder / "one")


def test_no_process_outlives_a_killed_run(folder: Path) -> None:
    code = (
        "from pathlib import Path; from tests.runs.spread.test_family import Forking\n"
        "from uosam.io.pairs import find_pairs; from uosam.runs.engine import run_folder\n"
        "if __name__ == '__main__':\n"
        "    samples = find_pairs(Path('images'), Path('masks')).samples\n"
        "    task = Forking(folder=Path('out').resolve(), notes=Path('n').resolve(), sleep=0.2)\n"
        "    run_folder(task, samples)\n"
    )
    (folder / "run.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    with subprocess.Popen(
        [sys.executable, "run.py"], cwd=folder, env=environment, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 120
        while len(list((folder / "out").rglob("*.png"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
            assert process.poll() is None
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while _alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(process.pid)
    assert not (folder / "out" / MANIFEST).exists()


def _alive(session: int) -> list[str]:
    table = subprocess.run(["ps", "-eo", "sess,stat,args"], capture_output=True, check=True)
    lines = (line.split(maxsplit=2) for line in table.stdout.decode().splitlines()[1:])
    return [line[2] for line in lines if line[0] == str(session) and not line[1].startswith("Z")]


def test_outcomes_come_in_order_and_no_further_ahead_than_told() -> None:
    class Backwards:
        """Two places; gives the later one back first."""

        ahead = 5

        def __init__(self) -> None:
            self.held: list[int] = []
            self.most = 0

        @property
        def room(self) -> bool:
            return len(self.held) < 2

        def send(self, number: int, work: object) -> None:
            self.held.append(number)

        def receive(self) -> list[tuple[int, int]]:
            number = self.held.pop()
            self.most = max(self.most, number)
            return [(number, number)]

    read: list[int] = []

    def work() -> Iterator[tuple[Sample, None]]:
        for index in range(20):
            read.append(index)
            yield Sample(name=str(index)), None

    given = []
    for outcome in in_order(Backwards(), work()):  # type: ignore[arg-type]
        given.append(outcome)
        assert len(read) - len(given) <= 5
    assert given == list(range(20))


def test_models_of_this_package_fork_on_a_cpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uosam.config import load_config
    from uosam.runs.refine import RefineTask

    def forks(*settings: str) -> bool:
        return RefineTask(folder=folder, config=load_config(overrides=settings)).forks

    assert forks("backend.device=cpu")
    assert forks("backend.name=graphcut", "backend.device=cuda")
    assert not forks("backend.name=tests.fakes:load")
    monkeypatch.setattr("uosam.backends.processes._computes_on_cpu", lambda name: False)
    assert not forks()
    assert spread.CAN_FORK


def test_what_a_killed_process_left_half_written_is_gone_when_the_run_ends(folder: Path) -> None:
    samples = find_pairs(folder / "images", folder / "masks").samples

    def leave(outcome: Outcome) -> None:
        (folder / "out" / ".uosam-0123456789abcdef.tmp").write_bytes(b"ha")

    run_folder(Nothing(folder=folder / "out"), samples, on_outcome=leave)
    run_folder(Nothing(folder=folder / "one"), samples)
    assert tree(folder / "out") == tree(folder / "one")
