"""``uosam loop``: from pictures alone, coarse, refine, retrain and again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uosam.cli.stopping import resumable


def command(
    images: Annotated[Path, typer.Argument(help="Folder of pictures.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder for everything.", show_default=False)],
    k: Annotated[
        int | None, typer.Option("--k", metavar="K", min=2, help="Begin with K classes of k-means.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option("--from", metavar="MASKS", help="Begin with these masks instead."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=0, help="How often to retrain.")] = 3,
    over: Annotated[
        int | None,
        typer.Option("--over", metavar="N", min=1, help="As in 'uosam coarse --k K --over N'."),
    ] = None,
    unguarded: Annotated[
        bool,
        typer.Option("--no-guard", help="Go on with a student that lost ids or has not learnt."),
    ] = False,
    background: Annotated[
        str | None,
        typer.Option(help="Id of MASKS that is no object, or 'none'; short for labels.background."),
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="What redraws, see 'uosam models'; short for backend.name.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps; of all models.")
    ] = None,
    config: Annotated[
        str | None, typer.Option("-c", "--config", metavar="FILE|NAME", help="YAML of settings.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="A setting of refine, student.KEY of retrain, or clusters.KEY of k-means. "
            "Repeatable.",
        ),
    ] = None,
) -> None:
    """Label IMAGES, refine the masks, teach a student, and repeat; the best labels go to OUT/masks.

    Nothing but pictures is needed. The prior is ImageNet's: its labels of whole pictures taught the
    features (pip install 'uosam[imagenet]'). OUT/loop.html shows masks and agreement by round,
    OUT/loop.jsonl lists them, OUT/round-N holds everything, the student too.
    A loop that was stopped goes on where it stopped.

    uosam loop photos out --k 8

    uosam loop val out --from pass_out/validation --rounds 2
    """
    from uosam.cli.progress import show_progress
    from uosam.config import build_config, read_changes, update_options
    from uosam.errors import ConfigError
    from uosam.evaluation.chain import to_plain
    from uosam.evaluation.rounds.loop import LoopOptions, run_loop
    from uosam.evaluation.rounds.page import to_html
    from uosam.io.atomic import write_atomic
    from uosam.io.codecs import LabelOptions
    from uosam.runs.journal import OtherResultsError
    from uosam.text import printable
    from uosam.training.student.options import StudentOptions

    flags = {
        "labels.background": background,
        "backend.name": segmenter,
        "backend.device": device,
        "student.device": device,
    }
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    changes = read_changes(config, [*given, *(settings or [])])
    clusters = changes.pop("clusters", {})
    if clusters and k is None:
        raise ConfigError("clusters.KEY is a setting of k-means; give --k K, or leave it out")
    student = update_options("student", StudentOptions(), changes.pop("student", {}))
    options = LoopOptions(
        rounds=rounds,
        k=k,
        masks=masks,
        settings={key: to_plain(value) for key, value in clusters.items()}
        | ({} if over is None else {"over": over}),
        config=build_config(changes),
        student=student,
        guards=not unguarded,
    )
    try:
        with resumable():
            result = run_loop(
                images,
                out,
                options,
                show=lambda total, verb: show_progress(total, verb=verb),
                on_line=typer.echo,
            )
    except OtherResultsError as error:  # of a step; a loop replaces nothing
        raise ConfigError(f"{error.what}; give another output folder") from error
    labels = options.config.labels if k is None else LabelOptions(background="none")
    write_atomic(out / "loop.html", to_html(result, labels).encode())
    for entry in result.rounds:
        said = "" if entry.agreement is None else f", student agrees {100 * entry.agreement:.1f} %"
        gone = f", ids gone: {', '.join(map(str, entry.lost))}" if entry.lost else ""
        typer.echo(
            f"round {entry.number}: {100 * entry.changed:.1f} % of pixels changed, "
            f"{100 * entry.kept:.1f} % keep its id{said}{gone}"
        )
    if result.refused:
        typer.echo(f"the student of round {len(result.rounds)} was not used: {result.refused}")
    for name, reason in sorted(result.failures.items()):
        typer.echo(printable(f"failed: {name}: {reason}"), err=True)
    typer.echo(printable(f"masks {result.masks}, page {out / 'loop.html'}"))
    if result.failures:
        raise typer.Exit(1)
