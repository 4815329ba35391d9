"""``uosam caption``: a phrase for each region of a map, or for all that a segmenter finds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uosam.cli.spread import EngineFlag, GpusFlag, ShardFlag, read_spread, tell_next
from uosam.cli.stopping import resumable


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES [MASKS] OUT",
            show_default=False,
            help="Folders of pictures, masks and results; MASKS for --by regions only.",
        ),
    ],
    captioner: Annotated[
        str,
        typer.Option(help="sca, crop (any image-to-text folder), or module:function."),
    ] = "crop",
    checkpoint: Annotated[
        str | None, typer.Option(help="Local folder of the captioner; nothing is downloaded.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="What gets a phrase: regions of the masks, proposals, or prompts.")
    ] = "regions",
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="CSV",
            help="Points and boxes for --by prompts: picture,x,y or picture,x0,y0,x1,y1.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Segmenter of proposals; SCA brings its own.")
    ] = None,
    min_area: Annotated[
        float, typer.Option(help="Smallest region, as a share of its picture.")
    ] = 0.001,
    most: Annotated[
        int, typer.Option(help="Phrases for a picture at most, largest regions first; 0 for all.")
    ] = 0,
    whole_classes: Annotated[
        bool, typer.Option("--whole-classes", help="One region for each id of a picture.")
    ] = False,
    background: Annotated[
        str, typer.Option(help="Id that is no object, or 'none' (STEGO-style).")
    ] = "default",
    overlay: Annotated[
        str | None, typer.Option(metavar="DIR", help="Draw pictures with the phrases there.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes, each with the models.")] = 1,
    shard: ShardFlag = None,
    engine: EngineFlag = "local",
    gpus: GpusFlag = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results of other settings.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="A setting of the sections captioner, backend, everything or labels.",
        ),
    ] = None,
) -> None:
    """Put regions of IMAGES into words.

    OUT gets captions.json (COCO, with run lengths), captions.csv and a document a picture.
    A run that was stopped goes on where it stopped.

    uosam caption photos masks captions --checkpoint blip-base

    uosam caption photos captions --by proposals --captioner sca --checkpoint sca-gpt2-large

    uosam caption photos captions --by prompts --prompts clicks.csv --checkpoint blip-base
    """
    import sys

    from uosam.cli.progress import show_progress
    from uosam.errors import InputError
    from uosam.io.pairs import find_pairs, find_pictures
    from uosam.runs.summary import describe
    from uosam.runs.words.caption import caption_folder, without_masks
    from uosam.runs.words.options import CaptionOptions

    spread = read_spread(shard, engine, gpus, workers if workers > 1 else None)
    from uosam.io.stores.mounts import mount, mount_file

    *inputs, out = (mount(path, keep=path is paths[-1]) for path in paths)
    wanted = 1 if by in ("proposals", "prompts") else 2
    if len(inputs) != wanted:
        expected = f"IMAGES OUT for {by}" if wanted == 1 else "IMAGES MASKS OUT"
        raise InputError(f"expected {expected}, got {' '.join(map(str, paths))}")
    given = [f"captioner.name={captioner}", f"captioner.device={device}"]
    given += [f"backend.device={device}", f"labels.background={background}"]
    given += [] if checkpoint is None else [f"captioner.checkpoint={checkpoint}"]
    given += [] if model is None else [f"backend.name={model}"]
    sections = _settle([*given, *(settings or [])])
    options = CaptionOptions(
        by=by,  # type: ignore[arg-type]  # checked there
        prompts=prompts and str(mount_file(prompts)),
        whole_classes=whole_classes,
        min_area=min_area,
        most=most,
        overlay=overlay and str(mount(Path(overlay), keep=True)),
        workers=workers,
        overwrite=overwrite,
        **sections,
    )
    # As "python -m" does: a model of one's own may lie where one works.
    sys.path.append(str(Path.cwd()))
    pairs = without_masks(*find_pictures(inputs[0])) if wanted == 1 else find_pairs(*inputs)
    if not pairs.samples:
        raise InputError(
            f"no mask belongs to a picture: found {len(pairs.unpaired_images)} pictures and "
            f"{len(pairs.unpaired_masks)} masks in {' and '.join(map(str, inputs))}; names must "
            "agree up to the suffix"
        )
    bar = show_progress(len(spread.take(pairs.samples)), verb="captioning")
    with resumable(), bar as on_outcome:
        run = caption_folder(
            pairs, out, options, inputs=inputs, spread=spread, on_outcome=on_outcome
        )
    typer.echo("\n".join(describe(run)))
    tell_next(spread, out, "the same command without --shard, which writes captions.json")
    if run.failures:
        raise typer.Exit(1)


def _settle(texts: list[str]) -> dict[str, Any]:
    """Return the options of the sections that captions have, by section."""
    from uosam.backends import BackendOptions
    from uosam.backends.text.captioners import CaptionerOptions
    from uosam.config import read_changes, update_options
    from uosam.errors import unknown
    from uosam.io.codecs import LabelOptions
    from uosam.stages.everything import EverythingOptions

    kinds = {
        "captioner": CaptionerOptions(),
        "backend": BackendOptions(),
        "everything": EverythingOptions(),
        "labels": LabelOptions(),
    }
    changes = read_changes(None, texts)
    for section in changes:
        if section not in kinds:
            raise unknown("config section of captions", section, kinds)
    return {
        section: update_options(section, options, changes.get(section, {}))
        for section, options in kinds.items()
    }
