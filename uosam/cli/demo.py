"""``uosam demo``: the main job on the pictures that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uosam.evaluation.demo import Demo


def command(
    out: Annotated[Path, typer.Argument(help="Folder for masks, overlays and demo.png.")] = Path(
        "demo_out"
    ),
    config: Annotated[
        str | None, typer.Option("-c", "--config", metavar="FILE|NAME", help="YAML of settings.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("-s", "--set", metavar="SECTION.KEY=VALUE", help="Setting. Repeatable."),
    ] = None,
) -> None:
    """Refine the example pictures, score them against hand-drawn truth, and draw a sheet.

    Needs no weights and no network. A second run replaces the first.

    uosam demo demo_out
    """
    from uosam.cli.progress import show_progress
    from uosam.config import examples_folder, load_config
    from uosam.evaluation.demo import run_demo
    from uosam.io.pairs import find_pairs

    options = load_config(config, settings or [])
    examples = examples_folder()
    total = len(find_pairs(examples / "images", examples / "coarse").samples)
    with show_progress(total) as on_outcome:
        demo = run_demo(out, options, examples=examples, on_outcome=on_outcome)
    _print_table(demo)
    typer.echo(f"look at   {demo.sheet}")
    typer.echo(f"levels    {demo.levels}")
    typer.echo(f"overlays  {demo.overlays}")
    typer.echo(f"masks     {demo.masks}")


def _print_table(demo: Demo) -> None:
    """Print coarse and refined scores of each picture, in percent."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="coarse and refined masks against ground truth, in percent")
    table.add_column("picture")
    for heading in ("objects", "IoU", "", "boundary IoU", "", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for score in (*demo.pictures, demo.mean):
        cells = [score.name, str(score.objects)]
        for before, after in zip(score.coarse, score.refined, strict=True):
            change = 100 * (after - before)
            colour = "green" if change > 0 else "red" if change < 0 else "default"
            cells += [f"{100 * before:.1f} -> {100 * after:.1f}", f"[{colour}]{change:+.1f}[/]"]
        if score is demo.mean:
            table.add_section()
        table.add_row(*cells, f"{score.seconds:.2f}")
    Console().print(table)
