"""What a checkout can do, a wheel can: built, installed elsewhere, and asked for everything."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from uosam.cli import COMMANDS

REPO = Path(__file__).resolve().parents[1]
NOT_IN_A_CLONE = (".git", ".venv", "*_out", "__pycache__", ".*_cache", "dist", "site")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the sources and unpack it into a folder of its own."""
    root = tmp_path_factory.mktemp("wheel")
    shutil.copytree(REPO, root / "clone", ignore=shutil.ignore_patterns(*NOT_IN_A_CLONE))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # The build system is installed for tests: nothing is to be fetched here.
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "-w", root / "out", root / "clone"], check=True)
    (wheel,) = (root / "out").glob("uosam-*.whl")
    target = root / "installed"
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True
    )
    shutil.rmtree(root / "clone")
    return target


class Shell:
    """Runs ``uosam`` of the wheel in an empty folder, without a checkout in sight."""

    def __init__(self, installed: Path, folder: Path) -> None:
        self.installed, self.folder = installed, folder
        self.examples = installed / "uosam" / "examples"

    def __call__(self, *arguments: object, status: int = 0) -> str:
        line = [sys.executable, "-m", "uosam", *map(str, arguments)]
        done = self._run(line)
        assert done.returncode == status, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, code: str) -> str:
        done = self._run([sys.executable, "-c", code])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, line: list[str]) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("UOSAM")}
        environment = {
            **kept,
            # The wheel comes first; an editable installation of the checkout must not win.
            "PYTHONPATH": str(self.installed),
            "UOSAM_CACHE": str(self.folder / "cache"),
            "HF_HUB_OFFLINE": "1",
        }
        return subprocess.run(
            line, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def shell(installed: Path, tmp_path: Path) -> Shell:
    return Shell(installed, tmp_path)


def test_it_is_the_wheel_that_runs(shell: Shell) -> None:
    place = shell.python("import uosam; print(uosam.__file__)").strip()
    assert Path(place).is_relative_to(shell.installed)
    assert shell("--version").startswith("uosam ")
    assert {"paper.yaml", "bench"} <= {
        p.name for p in (shell.installed / "uosam/configs").iterdir()
    }


def test_every_rival_and_every_uss_model_is_there(shell: Shell) -> None:
    names = {path.stem for path in (REPO / "baselines").glob("*.py")}
    there = {path.stem for path in (shell.installed / "uosam/baselines").glob("*.py")}
    assert there == names | {"__init__"}
    # pydensecrf2 is an extra; all others must import.
    importable = sorted(names - {"dense_crf"})
    code = f"import importlib\nfor n in {importable}: importlib.import_module('uosam.baselines.'+n)"
    shell.python(code)


def test_what_lists_and_prints(shell: Shell) -> None:
    assert "vit_h" in shell("models")
    assert len(json.loads(shell("models", "--json"))) > 5
    assert "local_region:" in shell("config", "-c", "paper")
    assert "luss-50" in shell("eval", "--list")
    assert "PASS" in shell("bench", "--published", "imagenet-s50")
    for command in COMMANDS:
        assert "Usage" in shell(command, "--help")


def test_refine_and_eval(shell: Shell) -> None:
    images, coarse = shell.examples / "images", shell.examples / "coarse"
    one = shell("refine", images / "chelsea.jpg", coarse / "chelsea.png", "one.png")
    assert "of 1 objects redrawn" in one
    shell("refine", images, coarse, "refined", "--overlay", "look")
    assert len(list((shell.folder / "refined").glob("*.png"))) == 5
    shell("eval", coarse, "refined", "--gt", shell.examples / "ground_truth", "--json", "e.json")
    document = json.loads((shell.folder / "e.json").read_text())
    assert [method["name"] for method in document["methods"]] == ["coarse", "refined"]
    assert "chelsea" in shell.python(
        "import uosam\n"
        f"r = uosam.refine({str(images / 'chelsea.jpg')!r}, {str(coarse / 'chelsea.png')!r})\n"
        "r.save('two.png'); print('chelsea', open('one.png','rb').read() == "
        "open('two.png','rb').read())"
    )


def test_demo(shell: Shell) -> None:
    assert "mean" in shell("demo")
    assert (shell.folder / "demo_out/demo.png").is_file()


def test_coarse_run_and_data(shell: Shell) -> None:
    images = shell.examples / "images"
    shell("coarse", images, "masks", "--k", 3)
    assert len(list((shell.folder / "masks").glob("*.png"))) == 5
    shell("run", images, "all", "--model", "kmeans", "-s", "coarse.classes=2")
    assert len(list((shell.folder / "all/refined").glob("*.png"))) == 5
    root = shell.folder / "set"
    shutil.copytree(images, root / "imgs/val")
    shutil.copytree(shell.examples / "ground_truth", root / "labels/val")
    assert "pictures      5" in shell("data", "check", root, "--dataset", "directory")
    shell("data", "link", root, "linked", "--dataset", "directory")
    assert len(list((shell.folder / "linked/images").iterdir())) == 5


def test_bench_and_ablate_on_the_examples(shell: Shell) -> None:
    line = ("--method", "grabcut", "--method", "uosam graphcut", "--limit", 2)
    assert "grabcut" in shell("bench", "out", *line)
    assert (shell.folder / "out/leaderboard.md").is_file()
    assert "no gate" in shell("ablate", "out", "--group", "gate", "--limit", 2)


def test_train_starts(shell: Shell, training_data: Path) -> None:
    small = ("side=64", "pictures=1", "final_side=64", "final_pictures=1", "workers=1", "steps=2")
    small += ("start=random",)
    shell("train", training_data, "run", *(x for key in small for x in ("-s", f"train.{key}")))
    assert (shell.folder / "run/tiny.safetensors").is_file()


def test_its_metadata_names_the_project(installed: Path) -> None:
    (found,) = importlib.metadata.distributions(name="uosam", path=[str(installed)])
    assert found.metadata["License-Expression"] == "Apache-2.0"
    assert any(point.name == "uosam" for point in found.entry_points)
