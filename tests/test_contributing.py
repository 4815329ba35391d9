"""What CONTRIBUTING tells to write runs, and the places it names are there."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

import uosam
from tests.conftest import Scene
from uosam.bench.leaderboard import run_bench
from uosam.bench.plan import read_plan
from uosam.metrics.protocols import PROTOCOLS
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions
from uosam.structures import Sample

REPO = Path(__file__).resolve().parents[1]
TEXT = (REPO / "CONTRIBUTING.md").read_text(encoding="utf-8")


def part(title: str, language: str = "python") -> str:
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[0]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package ``mylab`` with the modules of the page."""
    package = tmp_path / "mylab"
    package.mkdir()
    (package / "__init__.py").touch()
    for title in ("Add a backend", "Add a rival", "Add a USS model"):
        code = part(title)
        name = re.match(r"# mylab/(\w+\.py)", code)
        assert name
        (package / name[1]).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("mylab")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_the_backend_answers(lab: Path, scene: Scene) -> None:
    result = uosam.refine(scene.image, scene.coarse, "mylab.boxes:load")
    assert len(result.decisions) == 2
    box = result.prompts.boxes[0].astype(int)
    redrawn = result.labels == result.decisions["label"][0]
    assert redrawn[box[1] : box[3] + 1, box[0] : box[2] + 1].mean() > 0.95


def test_the_rival_is_a_row_of_a_leaderboard(lab: Path) -> None:
    plan = part("Add a rival", "yaml")
    (lab / "plan.yaml").write_text(plan)
    assert "methods" in yaml.safe_load(plan)
    board = run_bench(read_plan(lab / "plan.yaml", limit=1), lab / "out", isolated=False)
    assert [row.method for row in board.rows if row.data == "examples"] == ["coarse", "median"]
    assert not board.failed


def test_the_uss_model_labels(lab: Path) -> None:
    image = REPO / "examples/images/rocket.jpg"
    options = CoarseOptions(model="mylab.brightness:load", settings={"cut": 0.4})
    run = label_folder([Sample(name="rocket", image=image)], lab / "masks", options)
    assert not run.failures
    assert (lab / "masks/rocket.png").is_file()


def test_the_protocol_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uosam.metrics.protocols.PROTOCOLS", dict(PROTOCOLS))
    exec(compile(part("Add a protocol"), "CONTRIBUTING.md", "exec"), {})
    target = np.zeros((4, 6), np.int64)
    target[:, 3:] = 1
    assert uosam.evaluate(1 - target, target, "roads").scores["mIoU"] == 1


def test_the_places_it_names_are_there() -> None:
    for name in re.findall(r"`((?:uosam|baselines|tests|docs|configs)/[\w./]*)`", TEXT):
        if "NAME" not in name:
            assert (REPO / name).exists(), name
    for name in re.findall(r"`(uosam\.[\w.]+)`", TEXT):
        module: ModuleType | object = uosam
        for depth, piece in enumerate(name.split(".")[1:], start=1):
            dotted = ".".join(name.split(".")[: depth + 1])
            if not hasattr(module, piece):
                importlib.import_module(dotted)
            module = getattr(module, piece)
