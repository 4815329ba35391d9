"""``uosam bench``: which refiner should I use?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uosam.cli.stopping import resumable

if TYPE_CHECKING:
    from rich.table import Table

    from uosam.bench.leaderboard import Leaderboard, Step


def command(
    out: Annotated[
        Path, typer.Argument(help="Folder for tables, page and cells.", show_default=True)
    ] = Path("bench_out"),
    config: Annotated[
        str,
        typer.Option(
            "-c",
            "--config",
            metavar="FILE|NAME",
            help="What to compare: examples, or val for the development sets.",
        ),
    ] = "examples",
    published: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Print a published table and run nothing. Repeatable."),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this method. Repeatable.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--set-name", metavar="NAME", help="Only this set.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Pictures of each set.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="A setting of every method's segmenter or stages. Repeatable.",
        ),
    ] = None,
) -> None:
    """Compare refiners on sets of pictures: a table a reviewer accepts, and a page with plots.

    Cells of the table are kept in OUT and taken from there while data, code, settings and weights
    stay the same; a run that was stopped goes on where it stopped. Methods that failed are rows
    that say why, and the exit status is 1.

    uosam bench out

    uosam bench -c val out --set-name person --method uosam --limit 5

    uosam bench --published imagenet-s50
    """
    import sys

    from uosam.bench.leaderboard import Leaderboard, run_bench
    from uosam.bench.plan import read_plan
    from uosam.bench.published import holds_tables, published_rows, read_tables

    # As "python -m" does: a method or model of one's own may lie where one works.
    sys.path.append(str(Path.cwd()))
    if published or holds_tables(config):
        tables = read_tables(config if holds_tables(config) else "published")
        rows = published_rows(published or list(tables), tables)
        write_board(Leaderboard(rows=tuple(rows), entries=(), samples={}), None, as_json)
        return
    plan = read_plan(config, settings or (), methods=method or (), sets=data or (), limit=limit)
    with resumable():
        board = run_bench(plan, out, on_step=print_step)
    write_board(board, out, as_json)
    if board.failed:
        raise typer.Exit(1)


def print_step(step: Step) -> None:
    """Print a line for a cell that is done."""
    from uosam.text import one_line

    entry = step.entry
    state = entry.cell.error or ("kept" if entry.cell.cached else "done")
    seeded = "" if entry.seed is None else f", seed {entry.seed}"
    text = f"{step.number} / {step.total}  {entry.data.name}{seeded}  {entry.method}: {state}"
    typer.echo(one_line(text), err=True)


def write_board(board: Leaderboard, out: Path | None, as_json: bool = False) -> None:
    """Print a leaderboard, and write its files into a folder if one is given."""
    from uosam.bench.page import to_html
    from uosam.bench.report import to_csv, to_json, to_latex, to_markdown, to_records, to_rich

    if as_json:
        typer.echo(to_json(to_records(board.rows)), nl=False)
    else:
        print_wide(to_rich(board.rows))
    if out is None:
        return
    files = {
        "leaderboard.md": to_markdown(board.rows),
        "leaderboard.csv": to_csv(board.rows),
        "leaderboard.tex": to_latex(board.rows),
        "leaderboard.html": to_html(board),
    }
    write_files(out, files, quiet=as_json)


def print_wide(table: Table) -> None:
    """Print a table; in a file or pipe nothing is gained by folding it to 80 columns."""
    from rich.console import Console

    console = Console()
    Console(width=console.width if console.is_terminal else 250).print(table)


def write_files(out: Path, files: Mapping[str, str], *, quiet: bool) -> None:
    """Write texts by name into a folder, and say so."""
    from uosam.io.atomic import write_atomic

    for name, text in files.items():
        write_atomic(out / name, text.encode())
    if not quiet:
        typer.echo(f"written: {', '.join(str(out / name) for name in files)}")
