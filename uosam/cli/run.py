"""``uosam run``: from pictures to refined, evaluated masks with one set of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uosam.cli.dial import Granularity, Level, level_settings
from uosam.cli.stopping import resumable


def _short(key: str, text: str) -> str:
    return f"{text} Short for -s {key}."


def command(
    images: Annotated[Path, typer.Argument(help="Folder of pictures.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder for everything.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option(help=_short("coarse.model=NAME", "USS model, as in 'uosam coarse'.")),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help=_short("coarse.checkpoint=FILE", "Its weights."))
    ] = None,
    gt: Annotated[
        Path | None, typer.Option(help="Folder of ground truth; nothing is scored without.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help=_short("evaluate.protocol=NAME", "See 'uosam eval --list'.")),
    ] = None,
    segmenter: Annotated[
        str | None,
        typer.Option(help=_short("backend.name=NAME", "What redraws, see 'uosam models'.")),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps; of both models.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that refine and score; one labels. Auto and 1 if left out."),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help=_short("labels.background=ID", "Id that is no object; the model's if left out.")
        ),
    ] = None,
    level: Level = None,
    granularity: Granularity = None,
    soft: Annotated[
        bool,
        typer.Option("--soft", help=_short("coarse.soft=true", "Refine from class scores.")),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help=_short("engine.overwrite=true", "Replace other results.")),
    ] = False,
    config: Annotated[
        str | None,
        typer.Option("-c", "--config", metavar="FILE|NAME", help="YAML of settings of all steps."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("-s", "--set", metavar="SECTION.KEY=VALUE", help="Any setting. Repeatable."),
    ] = None,
) -> None:
    """Label IMAGES with a USS model, sharpen the masks, and score both.

    OUT/coarse and OUT/refined hold the masks, OUT/evaluation.json and .md the scores,
    OUT/run.yaml every setting; use it again with -c.
    A run that was stopped goes on where it stopped.

    uosam run photos out --model pass --checkpoint pass50_finetuning.pth.tar

    uosam run val out --model stego --checkpoint coco.ckpt --gt labels --protocol coco-stuff-27
    """
    import sys

    from uosam.cli.progress import show_progress
    from uosam.evaluation.chain import load_run, run_all
    from uosam.evaluation.report import to_plain
    from uosam.runs.summary import describe

    flags = {
        "coarse.model": model,
        "coarse.checkpoint": checkpoint,
        "coarse.device": device,
        "coarse.soft": "true" if soft else None,
        "evaluate.protocol": protocol,
        "evaluate.workers": workers,
        "backend.name": segmenter,
        "backend.device": device,
        "engine.workers": workers,
        "engine.overwrite": "true" if overwrite else None,
        "labels.background": background,
    }
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    given += level_settings(level, granularity, config, [*given, *(settings or [])])
    options = load_run(config, [*given, *(settings or [])])
    # As "python -m" does: a method or model of one's own may lie where one works.
    sys.path.append(str(Path.cwd()))
    with resumable():
        result = run_all(
            images,
            out,
            options,
            target=gt,
            show=lambda total, verb: show_progress(total, verb=verb),
        )
    for step in (result.coarse, result.refined):
        typer.echo("\n".join(describe(step)))
    if result.evaluation is not None:
        typer.echo(to_plain(result.evaluation), nl=False)
    if result.skipped:
        typer.echo(result.skipped)
    if result.failures:
        raise typer.Exit(1)
