"""``uosam app``: the app in the browser."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    model: Annotated[
        list[str] | None, typer.Option(help="Segmenter to offer; repeatable. tiny and graphcut.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    names: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Image-text model for names, or 'imagenet'."),
    ] = None,
    captions: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Image-to-text model for phrases.")
    ] = None,
    port: Annotated[int, typer.Option(help="Of 127.0.0.1; 0 takes a free one.")] = 7860,
    megapixels: Annotated[float, typer.Option(help="Largest picture, in millions of pixels.")] = 30,
    megabytes: Annotated[int, typer.Option(help="Largest upload.")] = 200,
    pictures: Annotated[int, typer.Option(help="Most files of an archive.")] = 500,
) -> None:
    """Open the app on this machine: pictures and masks in, sharper masks out.

    It answers on 127.0.0.1 alone and sends nothing elsewhere.
    """
    from uosam.app.desk import AppOptions
    from uosam.app.serve import start

    options = AppOptions(
        models=tuple(model) if model else AppOptions().models,
        device=device,
        names=names,
        captions=captions,
        most_pixels=_to_pixels(megapixels),
        most_megabytes=megabytes,
        most_pictures=pictures,
    )
    start(options, port)


def _to_pixels(megapixels: float) -> int:
    from uosam.errors import ConfigError

    if not 0 < megapixels < 1e4:
        raise ConfigError(f"--megapixels must be above 0 and below 10,000, got {megapixels:g}")
    return max(1, int(megapixels * 1e6))
