"""``uosam export``: masks into the files of other tools, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PSEUDO = "Pseudo-labels"


def command(
    source: Annotated[
        Path, typer.Argument(help="Folder of masks; with --from the other tool's file or folder.")
    ],
    out: Annotated[
        Path | None,
        typer.Argument(help="Folder to write; SOURCE-FORMAT, or SOURCE-masks, if left out."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="coco, labelme, labelstudio, cvat, yolo, voc, mask2former, supervision or pseudo."
        ),
    ] = None,
    back: Annotated[
        str | None, typer.Option("--from", help="Read this format into a folder of masks.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Pictures of the masks.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Class names: a line each from id 1 on, or a CSV with id and name.",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="PIXELS",
            help="How far polygons may be off: 1 for labelme and yolo, masks for cvat.",
        ),
    ] = None,
    background: Annotated[
        str | None, typer.Option(metavar="ID|none", help="Id that is no object.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="mmseg, imagenet-s or hf.", rich_help_panel=_PSEUDO)
    ] = "mmseg",
    confidence: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="What uosam refine --confidence wrote; where the run says, if left out.",
            rich_help_panel=_PSEUDO,
        ),
    ] = None,
    min_confidence: Annotated[
        float, typer.Option(help="Least chance that a label is right.", rich_help_panel=_PSEUDO)
    ] = 0.8,
    keep: Annotated[
        float, typer.Option(help="Share that every class keeps.", rich_help_panel=_PSEUDO)
    ] = 0.3,
    width: Annotated[
        float,
        typer.Option(metavar="PIXELS", help="Left out beside an outline.", rich_help_panel=_PSEUDO),
    ] = 2.0,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="The segmenter's own confidence, not calibrated.", rich_help_panel=_PSEUDO
        ),
    ] = False,
    ignored: Annotated[
        str | None,
        typer.Option(
            help="mark what is left out, or keep its label; keep for imagenet-s unless told.",
            rich_help_panel=_PSEUDO,
        ),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Link pictures, do not copy them.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of an earlier export.")
    ] = False,
) -> None:
    """Hand masks on to label tools, trainers and data sets, and take them back.

    uosam export refined --to coco --classes names.csv

    uosam export refined voc --to voc --images photos

    uosam export tasks.json masks --from labelstudio

    uosam export refined labels --to pseudo --images photos --layout mmseg
    """
    from uosam.config import load_config
    from uosam.errors import ConfigError
    from uosam.interchange.pseudo.labels import PseudoOptions
    from uosam.io.stores.mounts import bring
    from uosam.io.stores.outbox import outbox
    from uosam.io.stores.store import read_url
    from uosam.runs.exchange.export import export_folder, import_folder
    from uosam.runs.exchange.masks import read_names
    from uosam.runs.exchange.pseudo import export_pseudo

    if (to is None) == (back is None):
        raise ConfigError("expected one of --to FORMAT and --from FORMAT")
    _check(
        to,
        back,
        {
            "layout": layout != "mmseg",
            "confidence": confidence is not None,
            "min-confidence": min_confidence != PseudoOptions.min_confidence,
            "keep": keep != PseudoOptions.keep,
            "width": width != PseudoOptions.width,
            "raw": raw,
            "ignored": ignored is not None,
        },
        link,
    )
    if out is None and read_url(source) is not None:
        raise ConfigError(f"{source} lies elsewhere; give the folder to write after it")
    source, images = bring(source), images and bring(images)
    confidence = confidence and bring(confidence)
    shown, out = out, out and outbox(out)
    names = read_names(bring(classes)) if classes else None
    if back is not None:
        folder = out or source.with_name(f"{source.stem}-masks")
        done = import_folder(source, folder, back, names=names, overwrite=overwrite)
    else:
        folder = out or source.with_name(f"{source.resolve().name}-{to}")
        labels = (
            load_config(None, [f"labels.background={background}"]).labels if background else None
        )
    if to == "pseudo":
        if images is None:
            raise ConfigError("--to pseudo keeps pictures beside labels; give --images FOLDER")
        options = PseudoOptions(
            min_confidence=min_confidence,
            keep=keep,
            width=width,
            calibrated=not raw,
            ignored=ignored or ("keep" if layout == "imagenet-s" else "mark"),
        )
        done = export_pseudo(
            source,
            folder,
            images,
            options,
            layout=layout,
            confidence=confidence,
            names=names,
            labels=labels,
            overwrite=overwrite,
        )
    elif back is None:
        done = export_folder(
            source,
            folder,
            to or "",
            images=images,
            names=names,
            tolerance=tolerance,
            labels=labels,
            link=link,
            overwrite=overwrite,
        )
    typer.echo("\n".join([f"{'written to':<18} {shown or folder}", *done.describe()]))
    if done.failures:
        raise typer.Exit(1)


def _check(to: str | None, back: str | None, pseudo: dict[str, bool], link: bool) -> None:
    """Refuse options that do nothing here."""
    from uosam.errors import ConfigError
    from uosam.interchange.formats import find_format

    for name, given in pseudo.items():
        if given and to != "pseudo":
            raise ConfigError(f"--{name} is for --to pseudo; leave it out")
    if link and (back or to is None or to == "pseudo" or find_format(to).pictures is None):
        raise ConfigError(
            "--link is for formats that keep pictures beside the masks, such as --to voc; leave it "
            "out"
        )
