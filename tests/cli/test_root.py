"""What all commands share: version, verbosity, completion, narrow terminals, JSON."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import typer
from typer.testing import CliRunner, Result

from tests.conftest import Scene
from uosam import __version__
from uosam.cli import build_app
from uosam.cli.verbosity import is_quiet, set_verbosity


@pytest.fixture
def folders(tmp_path: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder, array in (("images", scene.image), ("masks", scene.coarse.astype(np.uint8))):
        (tmp_path / folder).mkdir()
        for name in "ab":
            PIL.Image.fromarray(array).save(tmp_path / folder / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, columns: int = 80) -> Result:
    return CliRunner().invoke(build_app(), list(arguments), env={"COLUMNS": str(columns)})


REFINE = ("refine", "images", "masks", "out", "--model", "tests.fakes:load")


def test_version() -> None:
    assert run("--version").stdout == f"uosam {__version__}\n"


def test_completion_is_offered_and_completes() -> None:
    assert "--install-completion" in run("--help").stdout
    asked = {"_UOSAM_COMPLETE": "complete_bash", "COMP_WORDS": "uosam ref", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['uosam']; from uosam.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["refine"], done.stderr


@pytest.mark.parametrize("line", [("-q", *REFINE), (*REFINE, "--quiet"), (*REFINE, "-q")])
def test_quiet_leaves_out_progress(folders: Path, line: tuple[str, ...]) -> None:
    result = run(*line)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert "refined            2" in result.stdout


def test_verbosity_is_that_of_logging(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("uosam")
    for arguments, level in (
        ((), logging.WARNING),
        (("-v",), logging.INFO),
        (("-vv",), logging.DEBUG),
        (("-vvvv",), logging.DEBUG),
    ):
        assert run(*arguments, *REFINE).exit_code == 0
        assert logger.level == level
    assert run("config", "-v").exit_code == 0
    assert logger.level == logging.INFO
    set_verbosity(0, quiet=False)
    logging.getLogger("uosam.backends").warning("two\nlines")
    logging.getLogger("uosam.backends").info("nothing")
    assert capsys.readouterr().err == "warning: two lines\n"
    assert not is_quiet()


@pytest.mark.parametrize("group", ["depth", "data", "models"])
def test_commands_of_a_group_take_the_options_too(group: str) -> None:
    for _ in range(2):  # a second tree is built of the same groups
        tree = typer.main.get_command(build_app())
    for name, command in tree.commands[group].commands.items():  # type: ignore[attr-defined]
        found = [option for one in command.params for option in one.opts]
        assert found.count("--verbose") == found.count("--quiet") == 1, (group, name)


def test_a_verbose_run_says_what_it_loads(folders: Path) -> None:
    line = ("refine", "images/a.png", "masks/a.png", "one.png", "--model", "graphcut", "-v")
    result = run(*line)
    assert result.exit_code == 0
    assert "info: loading graphcut" in result.stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_models_fit_the_terminal(columns: int) -> None:
    lines = run("models", columns=columns).stdout.splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("looked for"))]
    assert max(len(line) for line in table) <= columns
    # One line a model, whatever the width.
    assert len([line for line in table if line.strip()]) < 20
    assert any("vit_h" in line and "2565 MB" in line for line in table)


def test_json_of_refine(folders: Path) -> None:
    figures = json.loads(run(*REFINE, "--json").stdout)
    assert figures["refined"] == 2
    assert figures["failures"] == {}
    single = ("refine", "images/a.png", "masks/a.png", "one.png", *REFINE[4:], "--json")
    document = json.loads(run(*single).stdout)
    assert document["output"] == "one.png"
    assert [entry["accepted"] for entry in document["decisions"]] == [True, True]


PLAN = """
sets:
  two:
    images: images
    gt: masks
    coarse: masks
"""


def test_json_of_bench_and_ablate(folders: Path) -> None:
    (folders / "plan.yaml").write_text(PLAN + "methods: {uosam: uosam}\n")
    (folders / "grid.yaml").write_text(PLAN + "groups: {gate: {none: [local_region.gate=false]}}\n")
    options = ("-s", "backend.name=graphcut", "--json")
    rows = json.loads(run("bench", "out", "-c", "plan.yaml", *options).stdout)
    assert {row["method"] for row in rows} == {"coarse", "uosam"}
    assert rows[0]["mIoU_gain_low"] is None  # two pictures have no interval
    result = run("ablate", "out", "-c", "grid.yaml", *options)
    assert [row["variant"] for row in json.loads(result.stdout)] == ["full", "none"]
    text = run("ablate", "out", "-c", "grid.yaml", "-s", "backend.name=graphcut").stdout
    assert "*" not in text.split("Averages")[0]


def test_a_misspelt_setting_lists_settings_and_no_plans(folders: Path) -> None:
    for line, there, not_there in (
        ((*REFINE, "-c", "nosuch"), "paper", "published"),
        (("bench", "-c", "nosuch"), "examples", "paper"),
        (("ablate", "-c", "nosuch"), "ablation", "val"),
    ):
        result = run(*line)
        said = str(result.exception)
        assert there in said
        assert not_there not in said


def test_one_file_and_one_folder(folders: Path) -> None:
    for masks, part in (("masks", "is a folder"), ("nosuch.png", "does not exist")):
        result = run("refine", "images/a.png", masks, "out.png")
        assert f"expected two files or two folders, got images/a.png and {masks}" in str(
            result.exception
        )
        assert part in str(result.exception)
