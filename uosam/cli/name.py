"""``uosam name``: what the clusters of a folder are, or each of its regions, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from uosam.cli.spread import EngineFlag, GpusFlag, ShardFlag, read_spread
from uosam.cli.stopping import resumable


def command(
    images: Annotated[Path, typer.Argument(help="Folder of pictures.", show_default=False)],
    masks: Annotated[Path, typer.Argument(help="Folder of masks.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder for names.", show_default=False)],
    vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="Names there are: a text file with one a line ('name; synonym'), or voc, "
            "cocostuff, cityscapes, imagenet.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="imagenet (the default), folder, or module:function."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Local folder of a CLIP or SigLIP of transformers."),
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="What gets a name: each id of the folder (clusters), each part of a map "
            "(regions), or each record that uosam proposals wrote (proposals)."
        ),
    ] = "clusters",
    view: Annotated[
        str, typer.Option(help="How a region is shown: crop, masked, both, pooled, all or best.")
    ] = "best",
    assign: Annotated[
        str, typer.Option(help="independent, or one-to-one: no name twice.")
    ] = "independent",
    debias: Annotated[
        float, typer.Option(help="How much of a name's mean over all ids to take away, 0 to 1.")
    ] = 0.0,
    min_area: Annotated[
        float | None,
        typer.Option(
            help="Smallest region, as a share of its picture; 0.01, of proposals 0.",
            show_default=False,
        ),
    ] = None,
    per_id: Annotated[
        int, typer.Option(help="Regions of one id that are looked at, by lot; 0 for all.")
    ] = 200,
    background: Annotated[
        str, typer.Option(help="Id that is no object, or 'none' (STEGO-style).")
    ] = "default",
    name_background: Annotated[
        bool, typer.Option("--name-background", help="Name the background, too.")
    ] = False,
    decide: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="CLIPSeg or SAM 3 of transformers, to decide between a region's best three.",
        ),
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Image-to-text model whose phrases for the regions join the names; without "
            "spaCy, names are those that its captions contain.",
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option("--format", help="Files on regions: coco (one) or ssa (one a picture)."),
    ] = "coco",
    apply: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write MASKS into OUT with the names of this CSV; no model runs.",
        ),
    ] = None,
    target_names: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME", help="With --apply: write the ids of this ground truth instead."
        ),
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --apply: draw the named masks there.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes, each with the model.")] = 1,
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
            help="A setting of the sections naming, text or labels. Repeatable.",
        ),
    ] = None,
) -> None:
    """Name the clusters of MASKS by looking at their regions in IMAGES.

    OUT gets names.csv and names.json, and index.html and sheet.png to check them by.
    Other words cost no second look at the pictures; a run that was stopped goes on.

    uosam name photos masks names --vocabulary voc

    uosam name photos masks names --vocabulary words.txt --checkpoint siglip2-base

    uosam name photos masks named --apply names/names.csv

    uosam name photos proposals names --by proposals --vocabulary imagenet --format ssa
    """
    import sys

    from uosam.errors import ConfigError, InputError
    from uosam.io.codecs import LabelOptions
    from uosam.io.pairs import find_pairs
    from uosam.io.stores.mounts import mount, mount_file
    from uosam.regions.naming import NamingOptions

    images, masks, out = mount(images), mount(masks), mount(out, keep=True)
    apply = apply and mount_file(apply)
    overlay = overlay and mount(overlay, keep=True)
    spread = read_spread(shard, engine, gpus, workers if workers > 1 else None)
    given = [f"naming.assign={assign}", f"naming.debias={debias}", f"text.device={device}"]
    given += [f"labels.background={background}"]
    if checkpoint is not None:
        given += [f"text.checkpoint={checkpoint}"]
        model = model or "folder"
    sections = _settle([*given, f"text.name={model or 'imagenet'}", *(settings or [])])
    naming, labels = sections["naming"], sections["labels"]
    assert isinstance(naming, NamingOptions)
    assert isinstance(labels, LabelOptions)
    if by == "proposals" and apply is None:
        from uosam.runs.naming.parts import pair_records

        pairs = pair_records(images, masks)
    else:
        pairs = find_pairs(images, masks)
    if not pairs.samples:
        raise InputError(
            f"no mask belongs to a picture: found {len(pairs.unpaired_images)} pictures and "
            f"{len(pairs.unpaired_masks)} masks in {images} and {masks}; names must agree up to "
            "the suffix"
        )
    # As "python -m" does: a model of one's own may lie where one works.
    sys.path.append(str(Path.cwd()))
    if apply is not None:
        from uosam.cli.naming import apply_table

        others = {
            "by": by != "clusters",
            "view": view != "best",
            "vocabulary": vocabulary is not None,
            "model": model is not None,
            "checkpoint": checkpoint is not None,
            "decide": decide is not None,
            "captions": captions is not None,
            "format": output != "coco",
        }
        for option in (option for option, there in others.items() if there):
            raise ConfigError(f"--{option} is for naming, and --apply FILE has names; give one")
        table = apply, target_names, overlay, overwrite
        apply_table(pairs, out, table, labels, (images, masks), spread)
        return
    if vocabulary is None:
        raise ConfigError(
            "naming needs the names there are; give --vocabulary FILE with one name a line, or "
            "voc, cocostuff, cityscapes, imagenet"
        )
    for option, value in (("--target-names", target_names), ("--overlay", overlay)):
        if value is not None:
            raise ConfigError(f"{option} is for --apply FILE, which writes masks; give both")
    from uosam.errors import unknown
    from uosam.runs.naming.parts import NameOptions

    if output not in ("coco", "ssa"):
        raise unknown("format", output, ("coco", "ssa"))
    if output == "ssa" and by == "clusters":
        raise ConfigError("--format ssa is for --by regions or --by proposals; give one of them")
    options = NameOptions(
        by=by,  # type: ignore[arg-type]  # checked there
        view=view,  # type: ignore[arg-type]
        min_area=(0.0 if by == "proposals" else 0.01) if min_area is None else min_area,
        per_id=per_id,
        name_background=name_background,
        workers=workers,
        overwrite=overwrite,
        labels=labels,
        text=sections["text"],
    )
    if decide is not None and by == "clusters":
        raise ConfigError("--decide is for single regions; give --by regions or --by proposals")
    for option, folder in (("decide", decide), ("captions", captions)):
        if folder is not None and not Path(folder).is_dir():
            raise ConfigError(f"--{option} must be the folder of a model, found none at {folder}")
    if spread.shard is not None:
        from uosam.cli.naming import look

        look(pairs, out, options, (images, masks), spread)
        return
    style = output, decide, captions
    _name(pairs, out, vocabulary, options, naming, style, (images, masks), spread)


def _settle(texts: list[str]) -> dict[str, Any]:
    """Return the options of the sections that naming has, by section."""
    from uosam.backends.text.models import TextOptions
    from uosam.config import read_changes, update_options
    from uosam.errors import unknown
    from uosam.io.codecs import LabelOptions
    from uosam.regions.naming import NamingOptions

    kinds = {"naming": NamingOptions, "text": TextOptions, "labels": LabelOptions}
    changes = read_changes(None, texts)
    for section in changes:
        if section not in kinds:
            raise unknown("config section", section, kinds)
    return {
        section: update_options(section, kind(), changes.get(section, {}))
        for section, kind in kinds.items()
    }


def _name(
    pairs: Any,
    out: Path,
    vocabulary: str,
    options: Any,
    naming: Any,
    how: tuple[Any, str | None, str | None],
    inputs: tuple[Path, Path],
    spread: Any,
) -> None:
    from functools import partial

    from uosam.backends.text import segmenter
    from uosam.backends.text.phrases import load as load_phrases
    from uosam.cli.progress import show_progress
    from uosam.datasets.vocabulary import read_vocabulary
    from uosam.io.stores.mounts import as_given
    from uosam.runs.naming.report import draw_names
    from uosam.runs.naming.vote import name_folder, tell
    from uosam.runs.summary import describe

    words = read_vocabulary(vocabulary)
    style, decide, captions = how
    device = options.text.device
    decider = partial(segmenter.load, decide, device=device) if decide else None
    phrases = partial(load_phrases, captions, device=device) if captions else None
    with resumable():
        with show_progress(len(pairs.samples), verb="looking") as on_outcome:
            named = name_folder(
                pairs,
                out,
                words,
                options,
                naming,
                style=style,
                decider=decider,
                phrases=phrases,
                inputs=inputs,
                spread=spread,
                on_outcome=on_outcome,
            )
        if named.clusters:
            draw_names(named, pairs.samples, out)
    typer.echo("\n".join(describe(named.run)))
    typer.echo(as_given("\n".join(tell(named, out / "names.csv"))))
    if named.clusters:
        table = out / "names.csv"
        typer.echo(as_given(f"look at {out / 'index.html'}; edit the column name of {table}"))
        typer.echo(as_given(f"next: uosam name {inputs[0]} {inputs[1]} NAMED --apply {table}"))
    if named.run.failures:
        raise typer.Exit(1)
