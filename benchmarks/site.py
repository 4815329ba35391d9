"""Hooks of the documentation site: what is written by the program is not written by hand.

``mkdocs build`` calls them. The page of commands gets every command with its options, the page of
the API every name of the package, a page of a model its facts; pages that ``mkdocs.yml`` does not
name are added to the navigation, and links out of ``docs`` lead into the repository.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import uosam
from uosam.backends.models import MODELS
from uosam.cli import build_app

REPOSITORY = "https://github.com/uosam/uosam/blob/main"


def on_config(config: Any) -> Any:
    """Add the pages that the navigation lacks: of models under "Models", others under "More"."""
    named = set(re.findall(r"[\w/]+\.md", str(config["nav"])))
    docs = Path(config["docs_dir"])
    pages = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    left = [page for page in pages if page not in named]
    (models,) = (part["Models"] for part in config["nav"] if "Models" in part)
    models += [page for page in left if page.startswith("models/")]
    more = [page for page in left if not page.startswith("models/")]
    if more:
        config["nav"].append({"More": more})
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what the program knows, and let links out of ``docs`` lead into the repository."""
    path = page.file.src_path
    if path == "commands.md":
        markdown = markdown.replace("<!-- commands -->", commands())
    if path == "api.md":
        markdown = markdown.replace("<!-- names -->", reference())
    if path.startswith("models/") and path != "models/index.md":
        markdown = markdown.replace("<!-- facts -->", facts(Path(path).stem))
    return outward(markdown, posixpath.dirname(path))


def outward(markdown: str, folder: str) -> str:
    """Turn relative links to files outside ``docs`` into links to the repository.

    >>> outward("[a](../configs/paper.yaml) [b](files.md)", "")
    '[a](https://github.com/uosam/uosam/blob/main/configs/paper.yaml) [b](files.md)'
    """

    def turn(found: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join("docs", folder, found[1]))
        return found[0] if place.startswith("docs/") else f"]({REPOSITORY}/{place})"

    return re.sub(r"\]\((\.\./[^)#]+)\)", turn, markdown)


def reference() -> str:
    """Return a directive of mkdocstrings for every name that the package offers."""
    homes = sorted(uosam._HOMES.items(), key=lambda item: item[0].lower())
    return "\n\n".join(f"::: {module}.{name}" for name, module in homes)


def facts(name: str) -> str:
    """Return the line of the table of models as a list."""
    model = MODELS[name]
    rows = {
        "weights": f"{model.parameters:,}" if model.parameters else "none in the package",
        "licence": model.licence,
        "file": model.file and f"`{model.file}`, {model.size / 1e6:.0f} MB",
        "SHA-256": model.sha256 and f"`{model.sha256}`",
        "from": model.url,
        "levels": model.levels and f"1 to {model.levels}",
    }
    return "\n".join(f"* **{key}**: {value}" for key, value in rows.items() if value)


def commands() -> str:
    """Return every command with its text and a table of its options."""
    program = typer.main.get_command(build_app())
    return "\n".join(
        part for name, command in walk("uosam", program) for part in show(name, command)
    )


def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield the commands below a group by full name, and groups that have options themselves."""
    below = getattr(command, "commands", {})
    if not below or any(p.name not in ("help", "version") for p in command.params):
        yield name, command
    for part, child in below.items():
        yield from walk(f"{name} {part}", child)


def show(name: str, command: Any) -> Iterator[str]:
    """Yield the lines of one command."""
    yield f"\n## {name}\n"
    for paragraph in re.split(r"\n\s*\n", (command.help or "").strip()):
        text = " ".join(paragraph.split())
        yield f"\n    {text}\n" if text.startswith("uosam ") else f"\n{text}\n"
    rows = [row for row in map(option_row, command.params) if row]
    if rows:
        yield "\n| | |\n|---|---|"
        yield from rows


def option_row(option: Any) -> str:
    """Return the row of an option or argument, "" for one that is on every command."""
    if option.name in ("help", "verbose", "quiet") or getattr(option, "hidden", False):
        return ""
    names = ", ".join(f"`{text}`" for text in option.opts if text.startswith("-"))
    metavar = option.metavar or ""
    title = names + (f" `{metavar}`" if names and metavar else "")
    text = " ".join((getattr(option, "help", "") or "").split()).replace("|", "\\|")
    title = title or f"`{metavar or option.name.upper()}`"
    return f"| {title} | {text} |".replace("<", "&lt;")
