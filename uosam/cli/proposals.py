"""``uosam proposals``: all masks of every picture, without anything coarse to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uosam.cli.dial import Granularity, level_settings
from uosam.cli.spread import EngineFlag, GpusFlag, ShardFlag, read_spread, tell_next
from uosam.cli.stopping import resumable


def _short(key: str, text: str) -> str:
    return f"{text} Short for -s {key}."


def command(
    images: Annotated[Path, typer.Argument(help="Folder of pictures.", show_default=False)],
    out: Annotated[
        Path, typer.Argument(help="Folder for records, maps, overlays.", show_default=False)
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help=_short("backend.name=NAME", "Segmenter, see 'uosam models'; graphcut if left out.")
        ),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help=_short("backend.checkpoint=FILE", "Weights of the model."))
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            metavar="N[,N...]",
            help=_short(
                "everything.levels=[N]",
                "1 whole ... 6 smallest part; a column of the overlay each.",
            ),
        ),
    ] = None,
    granularity: Granularity = None,
    grid: Annotated[
        int | None,
        typer.Option(metavar="N", help=_short("everything.grid=N", "Points a side.")),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help=_short("backend.device=NAME", "auto, cpu, cuda, cuda:1, mps.")),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help=_short("engine.workers=N", "Processes, each with the model."))
    ] = None,
    shard: ShardFlag = None,
    engine: EngineFlag = "local",
    gpus: GpusFlag = 0.0,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help=_short("engine.overwrite=true", "Replace results of other settings."),
        ),
    ] = False,
    config: Annotated[
        str | None, typer.Option("-c", "--config", metavar="FILE|NAME", help="YAML of settings.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Any setting of backend and everything. Repeatable.",
        ),
    ] = None,
) -> None:
    """Find all masks of IMAGES: whole things, objects or parts.

    OUT/NAME.json holds the records of SAM's mask generator with COCO run lengths,
    OUT/labels a 16-bit map without overlaps and gaps, ids in the order of the records from 1,
    OUT/overlay a picture for people.
    A run that was stopped goes on where it stopped.

    uosam proposals photos masks --level 1,3,5

    uosam proposals photos masks --model vit_b -s everything.crops=1
    """
    from uosam.cli.progress import show_progress
    from uosam.io.pairs import find_pictures
    from uosam.io.stores.mounts import mount
    from uosam.runs.everything import find_in_folder, load_everything
    from uosam.runs.summary import describe

    flags = {
        "backend.name": model,
        "backend.checkpoint": checkpoint,
        "backend.device": device,
        "everything.grid": grid,
        "engine.workers": workers,
        "engine.overwrite": "true" if overwrite else None,
    }
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    given += level_settings(
        level,
        granularity,
        config,
        ["backend.name=graphcut", *given, *(settings or [])],
        keys=("everything.levels",),
    )
    options = load_everything(config, [*given, *(settings or [])])
    spread = read_spread(shard, engine, gpus, workers)
    images, out = mount(images), mount(out, keep=True)
    samples, unreadable = find_pictures(images)
    with resumable(), show_progress(len(spread.take(samples)), verb="searching") as on_outcome:
        run = find_in_folder(
            samples,
            out,
            options,
            unreadable=unreadable,
            inputs=[images],
            spread=spread,
            on_outcome=on_outcome,
        )
    typer.echo("\n".join(describe(run)))
    tell_next(spread, out)
    if run.status["empty"]:
        least = options.everything.min_score
        typer.echo(f"no mask reached everything.min_score={least}; a lower one finds more")
    if run.failures:
        raise typer.Exit(1)
