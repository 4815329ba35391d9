"""``uosam ablate``: what does each part bring?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uosam.cli.stopping import resumable


def command(
    out: Annotated[
        Path, typer.Argument(help="Folder for tables and cells; that of a benchmark will do.")
    ] = Path("bench_out"),
    config: Annotated[
        str,
        typer.Option(
            "-c",
            "--config",
            metavar="FILE|NAME",
            help="The grid of variants: examples, or ablation for the development sets.",
        ),
    ] = "examples",
    group: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this group. Repeatable.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--set-name", metavar="NAME", help="Only this set. Repeatable."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Pictures of each set.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="A setting of every configuration. Repeatable.",
        ),
    ] = None,
) -> None:
    """Leave parts out, one at a time, and write the ablation table of a paper.

    Cells are kept in OUT as those of "uosam bench" are, and shared with it. Variants that failed
    are rows that say why, and the exit status is 1.

    uosam ablate out --group gate

    uosam ablate -c ablation out --limit 10 --group prompts --group gate

    uosam ablate -c ablation out -s backend.name=vit_b
    """
    from uosam.bench.ablate import read_ablation, run_ablation
    from uosam.bench.ablate_report import (
        plot_proposals,
        to_csv,
        to_latex,
        to_markdown,
        to_records,
        to_rich,
    )
    from uosam.bench.report import to_json
    from uosam.cli.bench import print_step, print_wide, write_files
    from uosam.errors import ConfigError

    ablation = read_ablation(
        config, settings or (), groups=group or (), sets=data or (), limit=limit
    )
    with resumable():
        rows = run_ablation(ablation, out, on_step=print_step)
    if as_json:
        typer.echo(to_json(to_records(rows)), nl=False)
    else:
        print_wide(to_rich(rows))
    files = {
        "ablation.md": to_markdown(rows),
        "ablation.csv": to_csv(rows),
        "ablation.tex": to_latex(rows),
    }
    try:
        plot = plot_proposals(rows)
    except ConfigError as error:
        typer.echo(str(error), err=True)
    else:
        if plot is not None:
            files["proposals.svg"] = plot
    write_files(out, files, quiet=as_json)
    if any(row.note for row in rows):
        raise typer.Exit(1)
