"""What the documentation takes from the program is all of it."""

from __future__ import annotations

from pathlib import Path

import yaml

import uosam
from benchmarks.site import commands, facts, on_config, outward, reference
from uosam.backends.models import MODELS
from uosam.cli import COMMANDS

REPO = Path(__file__).resolve().parents[2]


def test_every_command_with_its_options() -> None:
    text = commands()
    for name in COMMANDS:
        assert f"## uosam {name}" in text
    assert "| `--overwrite` |" in text
    assert "## uosam data check" in text
    assert "| `IMAGES MASKS OUT` |" in text


def test_every_name_of_the_package() -> None:
    assert reference().count(":::") == len(uosam._HOMES)
    assert "::: uosam.api.refiner.Refiner" in reference()


def test_facts_of_every_model() -> None:
    for name in MODELS:
        assert "**licence**" in facts(name)
    assert "641,090,608" in facts("vit_h")
    assert "None" not in facts("graphcut")


def test_links_out_of_the_pages_lead_into_the_repository() -> None:
    text = outward("[a](../../configs/paper.yaml) [b](../files.md#pairs)", "models")
    assert "blob/main/configs/paper.yaml" in text
    assert "(../files.md#pairs)" in text


def test_no_page_is_left_out_of_the_navigation() -> None:
    config = yaml.safe_load((REPO / "mkdocs.yml").read_text())
    nav = str(on_config({**config, "docs_dir": str(REPO / "docs")})["nav"])
    for path in (REPO / "docs").rglob("*.md"):
        assert f"'{path.relative_to(REPO / 'docs').as_posix()}'" in nav
