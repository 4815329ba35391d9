"""A run on a real Ray with two CPUs: the bytes of a plain run, whoever dies in between."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from benchmarks.million import Nothing, make_files
from tests.conftest import Scene
from tests.trees import tree
from uosam.cli import build_app
from uosam.errors import BackendError, ConfigError
from uosam.io.pairs import find_pairs
from uosam.runs.engine import run_folder
from uosam.runs.manifest import PARTIAL
from uosam.runs.spread.launch import Spread
from uosam.runs.task import Outcome

ON_RAY = Spread(engine="ray", actors=2)


@dataclass(frozen=True, kw_only=True)
class Mortal(Nothing):
    """The actor at picture ``deadly`` dies, once or always; or the model does not load."""

    deadly: str = "none"
    once: bool = True
    broken: bool = False
    size: int = 1

    @property
    def batch(self) -> int:
        """Pictures at a time."""
        return self.size

    def load(self) -> None:
        """Fail as a missing checkpoint does."""
        if self.broken:
            raise BackendError("no such weights")

    def compute(self, model: None, read: bytes) -> bytes:
        """Die if it is this one's turn."""
        mark = self.folder.parent / "died"
        if read.decode() == self.deadly and not (self.once and mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().compute(model, read)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_files(tmp_path, 30, content=b"x")
    for index, path in enumerate(sorted((tmp_path / "masks").rglob("*.png"))):
        path.write_bytes(str(index).encode())
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine": "spark"}, "--engine must be local or ray, got 'spark'"),
        ({"engine": "ray", "gpus": -1}, "GPUs of 0 or more"),
        ({"engine": "ray", "gpus": float("nan")}, "GPUs of 0 or more"),
        ({"engine": "ray", "gpus": float("inf")}, "GPUs of 0 or more"),
        ({"engine": "ray", "cpus": 0}, "CPUs above 0"),
        ({"gpus": 1}, "--gpus is for --engine ray"),
        ({"engine": "ray", "actors": 0}, "--workers must be at least 1"),
    ],
)
def test_what_cannot_be_spread_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Spread(**settings)


def test_without_ray_there_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    samples = find_pairs(folder / "images", folder / "masks").samples
    with pytest.raises(ConfigError, match=r"needs Ray, got none; pip install 'uosam\[ray\]'"):
        run_folder(Nothing(folder=folder / "out"), samples, spread=ON_RAY)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
class TestOnRay:
    """Everything that starts a Ray, once for all."""

    @pytest.fixture(scope="class", autouse=True)
    def cluster(self) -> Iterator[None]:
        ray = pytest.importorskip("ray", reason="Ray is not installed")
        os.environ.pop("RAY_ADDRESS", None)
        # "local", since another may have left word of a cluster of its own on this machine.
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        started = [one for one in gc.get_objects() if type(one) is subprocess.Popen]
        ray.shutdown()
        for process in started:  # Ray ends them and does not wait, which Python complains about
            process.wait(60)

    @pytest.fixture(autouse=True)
    def plain(self, folder: Path) -> dict[str, bytes]:
        samples = find_pairs(folder / "images", folder / "masks").samples
        run_folder(Nothing(folder=folder / "plain"), samples)
        return tree(folder / "plain")

    def test_the_bytes_are_those_of_a_plain_run(self, folder, plain) -> None:
        samples = find_pairs(folder / "images", folder / "masks").samples
        names: list[str] = []
        task = Mortal(folder=folder / "out", size=4)
        run = run_folder(
            task, samples, spread=ON_RAY, on_outcome=lambda one: names.append(one.row["name"])
        )
        assert run.status == {"copied": 30}
        assert run.counts == {"number": 30}
        assert names == sorted(names)
        assert tree(folder / "out") == plain
        (folder / "out" / f"{names[7]}.png").unlink()
        again = run_folder(task, samples, spread=ON_RAY)
        assert again.skipped == 29
        assert tree(folder / "out") == plain

    @pytest.mark.parametrize("size", [1, 4])
    def test_a_killed_actor_loses_nothing(self, folder, plain, size: int) -> None:
        samples = find_pairs(folder / "images", folder / "masks").samples
        task = Mortal(folder=folder / "out", deadly="13", size=size)
        run = run_folder(task, samples, spread=ON_RAY)
        assert (folder / "died").exists()
        assert dict(run.failures) == {}
        assert tree(folder / "out") == plain

    def test_a_picture_that_ends_every_actor_is_recorded(self, folder, plain) -> None:
        samples = find_pairs(folder / "images", folder / "masks").samples
        task = Mortal(folder=folder / "out", deadly="13", once=False, size=2)
        run = run_folder(task, samples, spread=ON_RAY)
        assert list(run.failures) == [samples[13].name]
        assert "ended the process that worked at it 3 times" in run.failures[samples[13].name]
        assert run.status == {"copied": 29}
        assert run_folder(Nothing(folder=folder / "out"), samples).skipped == 29
        assert tree(folder / "out") == plain

    def test_a_stopped_run_goes_on(self, folder, plain) -> None:
        samples = find_pairs(folder / "images", folder / "masks").samples
        seen: list[Outcome] = []

        def stop(outcome: Outcome) -> None:
            seen.append(outcome)
            if len(seen) == 10:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_folder(
                Mortal(folder=folder / "out", sleep=0.05), samples, spread=ON_RAY, on_outcome=stop
            )
        assert (folder / "out" / PARTIAL).exists()
        run = run_folder(Mortal(folder=folder / "out"), samples, spread=ON_RAY)
        assert run.skipped >= 9
        assert tree(folder / "out") == plain

    def test_a_model_that_does_not_load_ends_the_run(self, folder) -> None:
        samples = find_pairs(folder / "images", folder / "masks").samples
        with pytest.raises(BackendError, match="no such weights"):
            run_folder(Mortal(folder=folder / "out", broken=True), samples, spread=ON_RAY)
        assert not list((folder / "out").iterdir())

    @pytest.mark.parametrize(
        ("name", "places", "flags"),
        [
            ("refine", 3, ("-s", "backend.name=tests.fakes:load")),
            ("coarse", 2, ("--model", "kmeans", "--k", "2")),
            ("name", 3, ("--model", "tests.text_fakes:load", "--vocabulary", "voc")),
            ("caption", 3, ("--captioner", "tests.runs.words.test_caption:load")),
            ("proposals", 2, ("-s", "backend.name=tests.fakes:load", "-s", "everything.grid=4")),
        ],
    )
    def test_commands_that_share_the_engine(
        self, tmp_path: Path, scene: Scene, name: str, places: int, flags: tuple[str, ...]
    ) -> None:
        for index in range(4):
            for part, array in (("a", scene.image), ("b", scene.coarse.astype(np.uint8))):
                path = tmp_path / part / f"p{index}.png"
                path.parent.mkdir(exist_ok=True)
                PIL.Image.fromarray(np.roll(array, index, axis=1)).save(path)
        for out, more in (("plain-out", ()), ("ray-out", ("--engine", "ray"))):
            inputs = ("a", "b")[: places - 1]
            folders = [str(tmp_path / part) for part in (*inputs, out)]
            found = CliRunner().invoke(build_app(), [name, *folders, *flags, *more])
            assert found.exit_code == 0, (found.output, found.exception)
        lines = (tmp_path / "ray-out/manifest.jsonl").read_text().splitlines()
        assert [line.count('"name": "p') for line in lines] == [0, 1, 1, 1, 1]
        assert tree(tmp_path / "ray-out") == tree(tmp_path / "plain-out")

    def test_a_cluster_without_room_is_told(self, folder) -> None:
        samples = find_pairs(folder / "images", folder / "masks").samples
        for spread in (Spread(engine="ray", gpus=1), Spread(engine="ray", cpus=64)):
            with pytest.raises(ConfigError, match=r"an actor needs .* got a cluster of 2 and 0"):
                run_folder(Nothing(folder=folder / "out"), samples, spread=spread)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_node_that_is_lost_for_good_loses_nothing(folder: Path, tmp_path: Path) -> None:
    """The actor that is to take the place of a lost one may never find a node to run on."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    samples = find_pairs(folder / "images", folder / "masks").samples
    run_folder(Nothing(folder=folder / "plain"), samples)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    seen: list[Outcome] = []

    def lose(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) == 4:
            cluster.remove_node(node, allow_graceful=False)

    try:
        task = Mortal(folder=folder / "out", sleep=0.1, size=2)
        run = run_folder(task, samples, spread=ON_RAY, on_outcome=lose)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert (run.status, dict(run.failures)) == ({"copied": 30}, {})
    assert tree(folder / "out") == tree(folder / "plain")
