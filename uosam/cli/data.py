"""``uosam data``: look at a data set before hours are spent on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uosam.datasets.check import DataReport

app = typer.Typer(help="Check a public data set, or lay it out.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Check a public data set before hours are spent on it, or lay it out."""


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="Root folder of the data set.", show_default=False)],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="imagenet-s-50, -300, -919, voc, coco-stuff-27, cityscapes, directory, or "
            "module:function; recognised if left out."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Such as validation or val; the evaluated one if left out.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also check coarse or refined masks.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read every file of a data set; count, pair and measure it against what is published.

    Status 0: all is well. 1: faults, a line each. 2: not a data set, or no such split.

    uosam data check ImageNetS50

    uosam data check ImageNetS50 --masks coarse --workers 4
    """
    from uosam.datasets.check import check_data

    if as_json or not sys.stderr.isatty():
        report = check_data(root, dataset=dataset, split=split, masks=masks, workers=workers)
    else:
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("checking", total=None)
            report = check_data(
                root,
                dataset=dataset,
                split=split,
                masks=masks,
                workers=workers,
                started=lambda total: bar.update(task, total=total),
                progress=lambda: bar.advance(task),
            )
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(report), indent=2))
    else:
        _print(report)
    if report.faults:
        raise typer.Exit(1)


@app.command()
def link(
    root: Annotated[Path, typer.Argument(help="Root folder of the data set.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="New folder for links.", show_default=False)],
    dataset: Annotated[
        str | None, typer.Option(help="As for check; recognised if left out.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Such as validation or val; the evaluated one if left out.")
    ] = None,
) -> None:
    """Link a split into OUT/images and OUT/gt, with the same names, for every other command.

    uosam data link cocostuff coco

    uosam run coco/images out --gt coco/gt --protocol coco-stuff-27 --model stego --checkpoint F
    """
    from uosam.datasets.link import link_data

    linked = link_data(root, out, dataset=dataset, split=split)
    typer.echo(f"{linked.count} pictures of {linked.dataset} {linked.split} in {linked.images}")
    if linked.targets is not None:
        typer.echo(f"ground truth in {linked.targets}")


def _print(report: DataReport) -> None:
    """Print the figures, as a table on a terminal, and every fault on a line of its own."""
    from uosam.text import one_line

    published = "" if report.published is None else f" of {report.published}"
    rows = {
        "data set": report.dataset,
        "split": report.split,
        "pictures": f"{report.pictures}{published}",
        "ground truth": str(report.masks),
        "ids": "none" if report.ids is None else f"{report.ids[0]} to {report.ids[1]}",
        "faults": str(len(report.faults)),
    }
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(show_header=False)
        for name, value in rows.items():
            table.add_row(name, value, style="red" if name == "faults" and report.faults else None)
        Console().print(table)
    else:
        typer.echo("\n".join(f"{name:13} {value}" for name, value in rows.items()))
    for fault in report.faults:
        typer.echo(one_line(fault))
