"""What README says runs as it stands, and its links lead somewhere."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import uosam
from uosam.backends.models import MODELS
from uosam.cli import build_app
from uosam.io.codecs import read_labels

REPO = Path(__file__).resolve().parents[1]
OWN = (
    "https://github.com/uosam/uosam/blob/main/",
    "https://raw.githubusercontent.com/uosam/uosam/main/",
)
TEXT = (REPO / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(REPO / "examples" / "images" / "chelsea.jpg", tmp_path / "photo.jpg")
    shutil.copy(REPO / "examples" / "coarse" / "chelsea.png", tmp_path / "coarse.png")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert read_labels(tmp_path / "refined.png").spec.codec == "luss"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/index.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (REPO / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    near = [(REPO / page).parent / link for link in links if "://" not in link]
    own = [REPO / link.partition("/main/")[2] for link in links if link.startswith(OWN)]
    assert [path for path in near + own if not path.is_file()] == []


def test_links_of_the_readme_lead_somewhere_from_any_page() -> None:
    assert [link for link in re.findall(r"\]\(([^)]+)", TEXT) if "://" not in link] == []


def test_every_model_has_a_page() -> None:
    folder = REPO / "docs" / "models"
    assert set(MODELS) == {path.stem for path in folder.glob("*.md")} - {"index"}
    index = (folder / "index.md").read_text(encoding="utf-8")
    for name in MODELS:
        page = (folder / f"{name}.md").read_text(encoding="utf-8")
        assert "## Measured" in page
        assert "## Not measured" in page
        assert f"({name}.md)" in index


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((REPO / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == uosam.__version__
    assert citation["license"] == "Apache-2.0"


def test_every_page_is_in_the_index() -> None:
    index = (REPO / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {path.name for path in (REPO / "docs").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def test_the_picture_is_small_enough_for_the_repository() -> None:
    assert (REPO / "docs" / "images" / "demo.jpg").stat().st_size < 200_000


def options(command: Any) -> set[str]:
    """The long options of a command and all below it."""
    found = {name for parameter in command.params for name in getattr(parameter, "opts", ())}
    for below in getattr(command, "commands", {}).values():
        found |= options(below)
    return {name for name in found if name.startswith("--")}


def test_the_pages_name_the_options_that_there_are() -> None:
    program = typer.main.get_command(build_app())
    pages = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    # Benchmarks, the harnesses of faults and SLURM have options of their own.
    others = ("python -m benchmarks", "tests.faults", "#SBATCH", "sbatch ")
    lines = [line for line in text.splitlines() if not any(name in line for name in others)]
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", "\n".join(lines)))
    assert named <= options(program) | {"--help"}
    main = ("eval", "coarse", "run", "submit", "data", "models", "refine")
    known = set.union(*(options(program.commands[name]) for name in main))
    assert known - {"--config", "--set"} <= named  # these two as -c and -s
