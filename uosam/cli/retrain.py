"""``uosam retrain``: a student learns the masks of a folder of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uosam.cli.stopping import resumable


def command(
    images: Annotated[Path, typer.Argument(help="Folder of pictures.", show_default=False)],
    masks: Annotated[
        Path, typer.Argument(help="Folder of their masks, best refined ones.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Argument(help="Folder for weights, state and log.", show_default=False)
    ],
    confidence: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Confidence maps that uosam refine --confidence wrote there."
        ),
    ] = None,
    background: Annotated[
        str | None, typer.Option(help="Id that is no object, or 'none'; for the commands after.")
    ] = None,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Teach the encoder too. Short for student.finetune.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps; short for student.device.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", metavar="FILE", help="YAML of settings.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="A setting, such as student.epochs=80 or labels.codec=luss. Repeatable.",
        ),
    ] = None,
) -> None:
    """Teach a student the MASKS of IMAGES into OUT: coarse masks of its own, for these and others.

    The encoder has the weights of ImageNet's labels and stays as it is unless --finetune is given.
    It stops when it agrees no better with the masks of pictures that it was not taught; of fewer
    than ten all are taught, and asked.
    A run that was stopped goes on where it was, to the same bits.

    uosam retrain photos refined student --background none

    uosam coarse photos again --model student --checkpoint student/student.safetensors
    """
    from uosam.config import read_changes, update_options
    from uosam.errors import unknown
    from uosam.io.codecs import LabelOptions
    from uosam.text import printable
    from uosam.training.student.command import retrain
    from uosam.training.student.options import StudentOptions

    overrides = [f"student.device={device}"] if device else []
    overrides += ["student.finetune=true"] if finetune else []
    overrides += [f"labels.background={background}"] if background else []
    changes = read_changes(config, [*overrides, *(settings or [])])
    for section in changes:
        if section not in ("student", "labels"):
            raise unknown("config section", section, ["student", "labels"])
    options = update_options("student", StudentOptions(), changes.get("student", {}))
    labels = update_options("labels", LabelOptions(), changes.get("labels", {}))
    with resumable():
        taught = retrain(
            images, masks, out, options, labels=labels, confidence=confidence, on_line=typer.echo
        )
    typer.echo(
        f"{taught.pictures} pictures, {taught.ids} ids, {taught.steps} steps; agreement with "
        f"masks {'not ' if taught.held else ''}taught {taught.agreement:.3f}"
    )
    typer.echo(
        printable(
            f"next: uosam coarse {images} MASKS --model student --checkpoint {taught.weights}"
        )
    )
