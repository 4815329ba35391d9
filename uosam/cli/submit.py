"""``uosam submit``: pack predictions for the ImageNet-S test servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    pred: Annotated[Path, typer.Argument(help="Folder of synset folders with test masks.")],
    output: Annotated[Path, typer.Argument(help="Archive (.zip) to write.")],
    split: Annotated[str, typer.Option(help="50, 300 or 919.")],
    name: Annotated[str, typer.Option(help="Method name.")],
    data: Annotated[str, typer.Option(help="Training data.")],
    scheme: Annotated[str, typer.Option(help="Training scheme: SSL, Sup or SSL+Sup.")],
    networks: Annotated[str, typer.Option(help="Networks, the segmenter of a refiner included.")],
    link: Annotated[str, typer.Option(help="Paper or project.")],
    description: Annotated[str, typer.Option(help="One line.")],
    match: Annotated[
        Path | None, typer.Option(help="Matching found on the validation images.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the test images, to check names and sizes.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="Number of test images, if not the published one.")
    ] = None,
) -> None:
    """Check predictions of the ImageNet-S test images and pack them for its servers.

    Masks sharpened with a segmenter that learnt from masks, such as SAM, belong to the server
    track that allows extra data. Find the matching with "uosam eval --json" on the validation
    images: --match takes that file, too.
    """
    from uosam.evaluation.evaluate import read_match
    from uosam.evaluation.submit import Method, submit
    from uosam.io.outputs import check_outputs
    from uosam.io.stores.mounts import bring
    from uosam.io.stores.outbox import outbox

    shown, output = output, outbox(output)
    pred, match, images = bring(pred), match and bring(match), images and bring(images)
    method = Method(
        name=name,
        data=data,
        scheme=scheme,
        networks=networks,
        link=link,
        description=description,
    )
    check_outputs([(output, "the archive")], [match] if match else [])
    masks = submit(
        pred,
        output,
        split=split,
        method=method,
        match=read_match(match) if match else None,
        images=images,
        count=count,
    )
    typer.echo(f"{shown}: {masks} masks, method.txt{', match.json' if match else ''}")
