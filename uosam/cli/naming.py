"""The parts of ``uosam name`` that need no vocabulary: a shard that looks, and names applied."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from uosam.cli.spread import tell_next
from uosam.cli.stopping import resumable

if TYPE_CHECKING:
    from uosam.io.codecs import LabelOptions
    from uosam.io.pairs import Pairs
    from uosam.runs.naming.parts import NameOptions
    from uosam.runs.spread.launch import Spread


def look(
    pairs: Pairs, out: Path, options: NameOptions, inputs: tuple[Path, Path], spread: Spread
) -> None:
    """Look at the regions of a shard; names are voted on when all are done."""
    from uosam.cli.progress import show_progress
    from uosam.runs.naming.looking import embed_folder
    from uosam.runs.summary import describe

    bar = show_progress(len(spread.take(pairs.samples)), verb="looking")
    with resumable(), bar as on_outcome:
        run = embed_folder(pairs, out, options, inputs=inputs, spread=spread, on_outcome=on_outcome)
    typer.echo("\n".join(describe(run)))
    tell_next(spread, out, "the same command without --shard, which names")
    if run.failures:
        raise typer.Exit(1)


def apply_table(
    pairs: Pairs,
    out: Path,
    table: tuple[Path, str | None, Path | None, bool],
    labels: LabelOptions,
    inputs: tuple[Path, Path],
    spread: Spread,
) -> None:
    """Write masks with the names of a table: file, target, overlay, and whether to replace."""
    from uosam.cli.progress import show_progress
    from uosam.runs.naming.apply import apply_names, make_plan
    from uosam.runs.summary import describe

    file, target_names, overlay, overwrite = table
    plan = make_plan(file, target_names, labels, pairs.samples)
    with show_progress(len(spread.take(pairs.samples)), verb="naming") as on_outcome:
        run = apply_names(
            pairs,
            out,
            plan,
            labels,
            overlay=overlay,
            overwrite=overwrite,
            inputs=inputs,
            spread=spread,
            on_outcome=on_outcome,
        )
    typer.echo("\n".join(describe(run)))
    for id_, name in sorted(plan.classes.items())[:40]:
        old = ", ".join(str(one) for one, new in sorted(plan.ids.items()) if new == id_)
        if old or not plan.target:
            typer.echo(f"{id_:6d}  {name:<20} (was {old or 'not there'})")
    if plan.lost:
        typer.echo(f"without a class of the target: {', '.join(map(str, plan.lost))}")
    tell_next(spread, out)
    if run.failures:
        raise typer.Exit(1)
