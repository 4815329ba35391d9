"""``uosam eval``: score predictions against ground truth, and methods against each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uosam.errors import ConfigError, InputError

if TYPE_CHECKING:
    from uosam.evaluation.types import EvaluateOptions, Evaluation

_OUTPUT = "Output"
_KNOBS = "In place of what the protocol says"


def _list_protocols(value: bool) -> None:
    if value:
        from uosam.metrics.protocols import PROTOCOLS

        for name, protocol in PROTOCOLS.items():
            typer.echo(f"{name:20} {protocol.title}")
        raise typer.Exit


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PRED [PRED ...] [GT]",
            help="Folders of predictions. Of two without --gt, the second is the ground truth.",
        ),
    ],
    gt: Annotated[Path | None, typer.Option(help="Folder of the ground truth.")] = None,
    protocol: Annotated[str, typer.Option(help="Whose numbers; see --list.")] = "plain",
    _list: Annotated[
        bool,
        typer.Option("--list", callback=_list_protocols, is_eager=True, help="List protocols."),
    ] = False,
    match: Annotated[
        Path | None, typer.Option(metavar="FILE", help="match.json to use; none is searched.")
    ] = None,
    named: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="names.csv of uosam name: are the names of PRED's ids right?"
        ),
    ] = None,
    target_names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="With --named: names of the ground truth's ids; by the protocol if left out.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Background below this score, of the .npy beside each prediction."),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(metavar="A:B[:STEP]", help="Try thresholds A to B, keep the best mIoU."),
    ] = None,
    trimap: Annotated[
        str | None, typer.Option(metavar="W,W,...", help="Also mIoU within W pixels of contours.")
    ] = None,
    boundary_f: Annotated[
        float | None,
        typer.Option(metavar="TOLERANCE", help="Also boundary F of objects (DAVIS: 0.008)."),
    ] = None,
    resamples: Annotated[
        int, typer.Option(help="Draws of the bootstrap; 0 for no intervals.")
    ] = 1000,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    matching: Annotated[
        str | None,
        typer.Option(
            help="none, presence, presence-anywhere, pixels or iou.",
            rich_help_panel=_KNOBS,
        ),
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(
            help="Which of equal matchings: munkres-3, munkres-1, scipy.", rich_help_panel=_KNOBS
        ),
    ] = None,
    absent: Annotated[
        str | None,
        typer.Option(help="Classes without pixels: zero or skip.", rich_help_panel=_KNOBS),
    ] = None,
    geometry: Annotated[
        str | None,
        typer.Option(help="native, centre-320, squash-320 or to-target.", rich_help_panel=_KNOBS),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(metavar="ID|none", help="Id that is no object.", rich_help_panel=_KNOBS),
    ] = None,
    colours: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="Read RGB masks by colour: voc, cityscapes, ade20k, camvid or a CSV file.",
            rich_help_panel=_KNOBS,
        ),
    ] = None,
    boundary_ratio: Annotated[
        float | None,
        typer.Option(help="Boundary depth, part of the diagonal.", rich_help_panel=_KNOBS),
    ] = None,
    sizes: Annotated[
        str, typer.Option(help="LUSS object sizes: current or pre-2022.", rich_help_panel=_KNOBS)
    ] = "current",
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Everything.", rich_help_panel=_OUTPUT),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Scores.", rich_help_panel=_OUTPUT)
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown.", rich_help_panel=_OUTPUT)
    ] = False,
    per_image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=".parquet, .csv or .md", rich_help_panel=_OUTPUT),
    ] = None,
    per_class: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=".parquet, .csv or .md", rich_help_panel=_OUTPUT),
    ] = None,
    per_object: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=".parquet, .csv or .md", rich_help_panel=_OUTPUT),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Class names, a line each, from id 1 on; published ones are known.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Pictures of best and worst changes.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="One page of all images and scores.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Photographs for --gallery and --html.", rich_help_panel=_OUTPUT
        ),
    ] = None,
) -> None:
    """Score predictions against ground truth, and methods against the first one.

    "uosam eval PRED GT" scores one folder, "uosam eval A B C --gt GT" compares B and C with A.
    """
    from uosam.datasets.class_names import read_class_names
    from uosam.evaluation.evaluate import read_match
    from uosam.evaluation.export import Outputs, write_outputs
    from uosam.evaluation.types import EvaluateOptions
    from uosam.io.stores.mounts import bring
    from uosam.io.stores.outbox import outbox

    preds, target = _sides(paths, gt)
    preds, target = [bring(path) for path in preds], bring(target)
    match, named, classes = (path and bring(path) for path in (match, named, classes))
    words: dict[str, Any] = {
        "matching": matching,
        "solver": solver,
        "absent": absent,
        "geometry": geometry,
        "sizes": sizes,
        "background": int(background) if background and background.isdigit() else background,
    }
    options = EvaluateOptions(
        protocol=protocol,
        boundary_ratio=boundary_ratio,
        thresholds=_thresholds(threshold, sweep),
        trimap=_widths(trimap),
        boundary_f=boundary_f,
        match=read_match(match) if match else None,
        named=_named(named, target_names, protocol),
        resamples=resamples,
        workers=workers,
        colours=colours,
        **words,
    )
    outputs = Outputs(
        json=json_file and outbox(json_file),
        csv=csv and outbox(csv),
        per_image=per_image and outbox(per_image),
        per_class=per_class and outbox(per_class),
        per_object=per_object and outbox(per_object),
        names=read_class_names(classes, options.resolve()) if classes else None,
        gallery=gallery and outbox(gallery),
        html=html and outbox(html),
        images=images and bring(images),
    )
    evaluation = _evaluate(preds, target, options)
    write_outputs(evaluation, outputs)
    _print(evaluation, markdown)


def _sides(paths: list[Path], gt: Path | None) -> tuple[list[Path], Path]:
    if gt is not None:
        return paths, gt
    if len(paths) != 2:
        raise InputError(
            f"without --gt expected two folders, predictions and ground truth, got {len(paths)}; "
            "give the ground truth as --gt FOLDER"
        )
    return paths[:1], paths[1]


def _named(table: Path | None, target: str | None, protocol: str) -> dict[int, int] | None:
    """Return the class of the name of each id, or None without a table."""
    if table is None and target is not None:
        raise ConfigError("--target-names is for --named FILE; give both")
    if table is None:
        return None
    from uosam.runs.naming.apply import read_classes

    return read_classes(table, target, protocol)


_MOST_STEPS = 1000


def _thresholds(threshold: float | None, sweep: str | None) -> tuple[float, ...]:
    if sweep is None:
        return () if threshold is None else (threshold,)
    if threshold is not None:
        raise ConfigError("expected --threshold or --sweep, got both; leave one out")
    try:
        first, last, step = ([float(part) for part in sweep.split(":")] + [0.01])[:3]
        steps = round((last - first) / step)
    except (ValueError, ArithmeticError) as error:
        raise ConfigError(f"--sweep must be A:B or A:B:STEP, got {sweep!r}") from error
    if step <= 0 or steps < 0:
        raise ConfigError(f"--sweep must rise from A to B in steps above 0, got {sweep!r}")
    if steps > _MOST_STEPS:
        raise ConfigError(f"--sweep must have {_MOST_STEPS} steps at most, got {steps}")
    return tuple(round(first + index * step, 10) for index in range(steps + 1))


def _widths(trimap: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in trimap.split(",")) if trimap else ()
    except ValueError as error:
        raise ConfigError(f"--trimap must be pixels such as 1,2,4, got {trimap!r}") from error


def _evaluate(preds: list[Path], target: Path, options: EvaluateOptions) -> Evaluation:
    """Evaluate with a progress bar on a terminal, silently otherwise."""
    from uosam.evaluation.evaluate import evaluate

    if not sys.stderr.isatty():
        return evaluate(preds, target, options)
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scoring", total=None)
        return evaluate(
            preds,
            target,
            options,
            progress=lambda done: bar.advance(task, done),
            started=lambda total: bar.update(task, total=total),
        )


def _print(evaluation: Evaluation, markdown: bool) -> None:
    from uosam.evaluation.report import to_markdown, to_plain, to_rich

    if markdown:
        typer.echo(to_markdown(evaluation), nl=False)
    elif not sys.stdout.isatty():
        typer.echo(to_plain(evaluation), nl=False)
    else:
        from rich.console import Console

        for part in to_rich(evaluation):
            Console().print(part)
