"""``uosam report``: a page to look at what a run did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Argument(help="Output folder of uosam refine.")],
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Pictures, if they are not where the run found them."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Coarse masks, if not where the run found them."),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Table of the pairs, in place of both.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Class names: a line each from id 1 on, or a CSV with id and name.",
        ),
    ] = None,
) -> None:
    """Write OUT/report.html: every picture before and after, and what was decided.

    One file without any other: send it, open it in any browser.
    """
    from uosam.io.stores.mounts import as_given, at_hand, bring, mount
    from uosam.runs.exchange.masks import read_names
    from uosam.runs.report import write_report

    names = read_names(bring(classes)) if classes else None
    images, masks = images and mount(images), masks and mount(masks)
    out = mount(out, keep=True)
    path = write_report(out, images=images, masks=masks, manifest=manifest, names=names)
    with at_hand(path):
        typer.echo(as_given(f"{path}: {path.stat().st_size / 1e6:.1f} MB"))
