"""``uosam refine``: a folder of coarse masks in, the same folder sharper."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uosam.cli.dial import Granularity, Level, level_settings
from uosam.cli.spread import EngineFlag, GpusFlag, ShardFlag, read_spread, tell_next
from uosam.cli.stopping import resumable

if TYPE_CHECKING:
    from uosam.config import Config
    from uosam.runs.task import Outcome


def _short(key: str, text: str) -> str:
    return f"{text} Short for -s {key}."


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES MASKS OUT",
            show_default=False,
            help="Folders of pictures, coarse masks and results, or a file each; OUT alone with "
            "--manifest. MASKS may be COCO JSON.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help=_short("backend.name=NAME", "Segmenter, see 'uosam models'.")),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help=_short("backend.checkpoint=FILE", "Weights of the model."))
    ] = None,
    level: Level = None,
    granularity: Granularity = None,
    device: Annotated[
        str | None,
        typer.Option(help=_short("backend.device=NAME", "auto, cpu, cuda, cuda:1, mps.")),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(help=_short("engine.workers=N", "Processes, each with the model; auto.")),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            help=_short("labels.background=ID", "Id that is no object, or 'none' (STEGO-style).")
        ),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            help=_short(
                "labels.codec=NAME",
                "Insist on luss, index8, palette, index16, npy or scores.",
            )
        ),
    ] = None,
    colours: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help=_short(
                "labels.colours=TABLE",
                "Read RGB masks by colour: voc, cityscapes, ade20k, camvid or a CSV file.",
            ),
        ),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Depth of the pictures, a guide for proposals. Short for -s depth.folder=DIR, and "
            "-s global_region.grid=16 where that stage is left out.",
        ),
    ] = None,
    depth_optional: Annotated[
        bool,
        typer.Option(
            "--depth-optional",
            help=_short("depth.optional=true", "Go on without where a picture has no depth."),
        ),
    ] = False,
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help=_short("engine.manifest=FILE", "CSV or Parquet with columns image and mask."),
        ),
    ] = None,
    overlay: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help=_short("engine.overlay=DIR", "Draw before/after pictures there.")
        ),
    ] = None,
    confidence: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help=_short("engine.confidence=DIR", "Write 8-bit confidence there.")
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Also write OUT/report.html, as uosam report OUT does."),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help=_short("engine.overwrite=true", "Replace results of other settings."),
        ),
    ] = False,
    shard: ShardFlag = None,
    engine: EngineFlag = "local",
    gpus: GpusFlag = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    config: Annotated[
        str | None,
        typer.Option("-c", "--config", metavar="FILE|NAME", help="YAML of settings, or 'paper'."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Any setting, see 'uosam config'. Repeatable.",
        ),
    ] = None,
) -> None:
    """Sharpen the coarse MASKS of IMAGES into OUT.

    A mask belongs to the picture of the same relative path and name.
    Masks come back in the encoding in which they came.
    A run that was stopped goes on where it stopped.

    uosam refine photo.jpg mask.png refined.png

    uosam refine photos masks refined

    uosam refine val pass_out/validation refined --model vit_h --workers 2

    uosam refine photos masks refined --depth depth

    uosam refine photos masks refined --shard 3/16
    """
    from uosam.cli.progress import show_progress
    from uosam.config import load_config
    from uosam.errors import InputError
    from uosam.io.listings.table import read_manifest
    from uosam.io.mismatch import require_pairs
    from uosam.io.pairs import find_pairs
    from uosam.runs.refine import refine_folder
    from uosam.runs.report import write_report
    from uosam.runs.summary import describe, encode_summary

    flags = {
        "backend.name": model,
        "backend.checkpoint": checkpoint,
        "backend.device": device,
        "engine.workers": workers,
        "labels.background": background,
        "labels.codec": codec,
        "labels.colours": colours,
        "depth.folder": depth,
        "depth.optional": "true" if depth_optional else None,
        "engine.manifest": manifest,
        "engine.overlay": overlay,
        "engine.confidence": confidence,
        "engine.overwrite": "true" if overwrite else None,
    }
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    given += level_settings(level, granularity, config, [*given, *(settings or [])])
    options = load_config(config, [*given, *(settings or [])])
    if depth is not None and options.refine.global_region.grid == 0:
        options = load_config(config, ["global_region.grid=16", *given, *(settings or [])])
    from uosam.io.stores.mounts import bring, mount
    from uosam.io.stores.outbox import outbox
    from uosam.io.stores.store import names_file

    spread = read_spread(shard, engine, gpus, workers)
    inputs = [bring(path) if names_file(path) else mount(path) for path in paths[:-1]]
    out = outbox(paths[-1]) if names_file(paths[-1]) else mount(paths[-1], keep=True)
    table = options.engine.manifest
    if len(inputs) != (0 if table else 2):
        expected = "OUT alone, since a manifest names the files" if table else "IMAGES MASKS OUT"
        raise InputError(f"expected {expected}, got {' '.join(map(str, paths))}")
    if inputs and inputs[1].suffix.lower() == ".json" and inputs[0].is_dir():
        _refine_coco(inputs[0], inputs[1], out, options, as_json, report)
        return
    single = [path.is_file() for path in inputs]
    if any(single) and not all(single):
        raise InputError(
            f"expected two files or two folders, got {' and '.join(map(str, inputs))}, and one "
            f"{'is a folder' if any(path.is_dir() for path in inputs) else 'does not exist'}"
        )
    if inputs and all(single) and out.suffix and not out.is_dir():
        if report:
            raise InputError("--report is of folders; give a folder as OUT")
        if spread.shard is not None or engine != "local":
            raise InputError("--shard and --engine are for folders; leave them out for one picture")
        from uosam.cli.single import refine_file

        refine_file(inputs[0], inputs[1], out, options, as_json)
        return
    pairs = read_manifest(Path(table)) if table else find_pairs(*inputs)
    if not pairs.samples and pairs.unreadable:
        (path, why), *more = pairs.unreadable.items()
        rest = f" (and {len(more)} more)" if more else ""
        raise InputError(f"no mask can be read: {path}: {why}{rest}")
    if table and not pairs.samples:
        raise InputError(f"{table}: expected a row for each pair, got none")
    if not table:
        require_pairs(pairs, *inputs)
    with resumable(), show_progress(len(spread.take(pairs.samples))) as on_outcome:
        run = refine_folder(
            pairs, out, options, inputs=inputs, spread=spread, on_outcome=on_outcome
        )
    if report:
        write_report(out, pairs=pairs)
    typer.echo(encode_summary(run, {}).decode() if as_json else "\n".join(describe(run)))
    if not as_json:
        tell_next(spread, out)
    if run.failures:
        raise typer.Exit(1)


def _refine_coco(
    images: Path, source: Path, out: Path, config: Config, as_json: bool, report: bool
) -> None:
    """Refine the masks of a COCO file."""
    from uosam.cli.progress import show_progress
    from uosam.runs.exchange.coco_masks import refine_coco
    from uosam.runs.report import write_report
    from uosam.runs.summary import describe, encode_summary

    with ExitStack() as stack:
        shown: list[Callable[[Outcome], None]] = []

        def begin(total: int) -> None:
            shown.append(stack.enter_context(show_progress(total)))

        run = refine_coco(
            images, source, out, config, on_outcome=lambda one: shown[0](one), begin=begin
        )
    if report:
        write_report(out, images=images)
    typer.echo(encode_summary(run, {}).decode() if as_json else "\n".join(describe(run)))
    if run.failures:
        raise typer.Exit(1)
