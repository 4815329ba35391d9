"""``uosam eval-captions``: score phrases against reference phrases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    table: Annotated[
        Path,
        typer.Argument(
            help="CSV with the columns caption and reference; rows of one 'region' share a "
            "candidate.",
            show_default=False,
        ),
    ],
    with_meteor: Annotated[
        bool, typer.Option("--meteor", help="Also METEOR; needs Java and pycocoevalcap.")
    ] = False,
    spice: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also SPICE, from the JSON that its program wrote."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the scores as JSON, those of rows included.")
    ] = False,
) -> None:
    """Score phrases: CIDEr-D, ROUGE-L and BLEU-1 to 4, as the COCO caption evaluation does.

    METEOR is a program in Java, asked for by --meteor; of SPICE the result file is read.

    uosam eval-captions captions_with_references.csv
    """
    import json

    from uosam.evaluation.captions import read_caption_table
    from uosam.io.stores.mounts import bring
    from uosam.metrics.captions import score_captions

    table, spice = bring(table), spice and bring(spice)
    candidates, references = read_caption_table(table)
    scores = score_captions(candidates, references)
    values = dict(vars(scores))
    if with_meteor:
        from uosam.evaluation.captions import meteor

        values["meteor"], values["meteor_each"] = meteor(candidates, references)
    if spice is not None:
        from uosam.evaluation.captions import read_spice

        values["spice"] = read_spice(spice)
    if as_json:
        typer.echo(json.dumps(values))
        return
    rows = {"CIDEr-D": 10 * scores.cider_d, "ROUGE-L": 100 * scores.rouge_l}
    rows |= {f"BLEU-{order}": 100 * value for order, value in enumerate(scores.bleu, start=1)}
    for name in ("meteor", "spice"):
        rows |= {name.upper(): 100 * values[name]} if name in values else {}
    # Papers print CIDEr-D times 100 with its factor of 10 left out: the same number.
    for title, value in rows.items():
        typer.echo(f"{title:<8} {value:6.1f}")
    typer.echo(f"captions {len(candidates):6d}")
