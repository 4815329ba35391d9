"""``uosam train``: the embedded SAM from pictures with region maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uosam.cli.stopping import resumable


def command(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder of SOURCE/NAME.jpg with region maps SOURCE/NAME.0.png, NAME.1.png, ...",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(help="Folder for checkpoint, logs and weights.", show_default=False),
    ],
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            metavar="DIR",
            help="Folder of SET/images, SET/gt, SET/coarse to score now and then.",
        ),
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
            help="A setting, such as train.steps=30000. Repeatable.",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Length of the run by the clock; short for train.minutes."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps; short for train.device.")
    ] = None,
) -> None:
    """Train the embedded SAM on DATA into OUT.

    A run that was stopped goes on where it was, to the same result. OUT gets the weights
    (tiny.safetensors), the checkpoint, and the logs train.csv and validation.csv, every minute and
    whenever the run ends. With --minutes the schedule follows the clock.

    uosam train data/train runs/tiny --validation data/val

    uosam train data/train runs/tiny --minutes 9 --device cuda
    """
    from uosam.config import read_changes, update_options
    from uosam.errors import unknown
    from uosam.training.command import train
    from uosam.training.options import TrainOptions

    overrides = list(settings or [])
    overrides += [f"train.device={device}"] if device else []
    overrides += [f"train.minutes={minutes}"] if minutes is not None else []
    changes = read_changes(config, overrides)
    for section in changes:
        if section != "train":
            raise unknown("config section", section, ["train"])
    options = update_options("train", TrainOptions(), changes.get("train", {}))
    with resumable():
        weights = train(data, out, options, validation=validation, on_line=typer.echo)
    typer.echo(f"weights   {weights}")
