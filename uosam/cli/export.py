"""``uosam export``: masks into the files of other tools, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
            help="coco, labelme, labelstudio, cvat, yolo, voc, mask2former or supervision."
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
    link: Annotated[bool, typer.Option("--link", help="Link pictures, do not copy them.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of an earlier export.")
    ] = False,
) -> None:
    """Hand masks on to label tools, trainers and data sets, and take them back.

    uosam export refined --to coco --classes names.csv

    uosam export refined voc --to voc --images photos

    uosam export tasks.json masks --from labelstudio
    """
    from uosam.config import load_config
    from uosam.errors import ConfigError
    from uosam.runs.exchange.export import export_folder, import_folder
    from uosam.runs.exchange.masks import read_names

    if (to is None) == (back is None):
        raise ConfigError("expected one of --to FORMAT and --from FORMAT")
    names = read_names(classes) if classes else None
    if back is not None:
        folder = out or source.with_name(f"{source.stem}-masks")
        done = import_folder(source, folder, back, names=names, overwrite=overwrite)
    else:
        folder = out or source.with_name(f"{source.resolve().name}-{to}")
        labels = (
            load_config(None, [f"labels.background={background}"]).labels if background else None
        )
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
    typer.echo("\n".join([f"{'written to':<18} {folder}", *done.describe()]))
    if done.failures:
        raise typer.Exit(1)
