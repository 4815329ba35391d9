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
    network: Annotated[
        Path | None,
        typer.Option(
            metavar="PHOTOS",
            help="Photographs that a real network labels (pip install 'uosam[imagenet]').",
            show_default=False,
        ),
    ] = None,
    vocabulary: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="With --network: the classes that it looks for."),
    ] = "voc",
    gt: Annotated[
        Path | None,
        typer.Option(help="With --network: ground truth in ids of the vocabulary, to score."),
    ] = None,
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
    With --network PHOTOS the masks are those of an ImageNet classifier, whose weights come with a
    package, on pictures of your own.

    uosam demo demo_out

    uosam demo demo_out --network photos --vocabulary voc
    """
    if network is not None:
        _run_network(network, out, vocabulary, gt, config, settings or [])
        return
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


def _run_network(
    photos: Path,
    out: Path,
    vocabulary: str,
    gt: Path | None,
    config: str | None,
    settings: list[str],
) -> None:
    """Run the second demo and say what it found.

    Raises:
        Exit: with status 1 if a picture failed.
    """
    from uosam.cli.progress import show_progress
    from uosam.evaluation.demo import load_demo, run_network_demo
    from uosam.evaluation.report import to_plain
    from uosam.runs.summary import describe

    demo = run_network_demo(
        photos,
        out,
        load_demo(vocabulary, config, settings),
        target=gt,
        show=lambda total, verb: show_progress(total, verb=verb),
    )
    for step in (demo.result.coarse, demo.result.refined):
        typer.echo("\n".join(describe(step)))
    if demo.result.evaluation is not None:
        typer.echo(to_plain(demo.result.evaluation), nl=False)
    if demo.result.skipped:
        typer.echo(demo.result.skipped)
    counted = ", ".join(f"{name} {count}" for name, count in demo.found.items())
    typer.echo(f"found     {counted or 'none of the classes'} (pictures each)")
    if demo.sheet is not None:
        typer.echo(f"look at   {demo.sheet}")
    if demo.result.failures:
        raise typer.Exit(1)


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
