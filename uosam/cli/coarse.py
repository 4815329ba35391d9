"""``uosam coarse``: a folder of pictures in, the masks of a USS model out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from uosam.cli.spread import EngineFlag, GpusFlag, ShardFlag, read_spread, tell_next
from uosam.cli.stopping import resumable


def command(
    images: Annotated[Path, typer.Argument(help="Folder of pictures.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder for masks.", show_default=False)],
    model: Annotated[
        str | None,
        typer.Option(
            help="cause, clusters, hp, imagenet, kmeans, maskcontrast, maskcontrast-linear, pass, "
            "picie, segmentor, smooseg, stego, student, or module:function.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            metavar="K",
            min=2,
            help="Find K classes by k-means: --model clusters, on features that learnt ImageNet's "
            "labels, where the extra imagenet is installed, else --model kmeans, on a segmenter's.",
        ),
    ] = None,
    over: Annotated[
        int | None,
        typer.Option(
            "--over",
            metavar="N",
            min=1,
            help="Find N times as many clusters and merge those that occur together; short for "
            "-s over=N of --model clusters.",
        ),
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Classes that --model imagenet looks for: voc, cocostuff, cityscapes, imagenet, "
            "or a text file; short for -s vocabulary=...",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Weights of the model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    scores: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write float16 class scores there, which refine can use."),
    ] = None,
    compress: Annotated[
        bool, typer.Option("--compress", help="Write scores as .npz instead of .npy.")
    ] = False,
    shard: ShardFlag = None,
    engine: EngineFlag = "local",
    gpus: GpusFlag = 0.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results of other settings.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-s", "--set", metavar="NAME=VALUE", help="A setting of the model. Repeatable."
        ),
    ] = None,
) -> None:
    """Label IMAGES with an unsupervised segmentation model into OUT.

    Masks are written as the model's community does: PASS as R + 256 G, others as grey ids.
    CAUSE, HP, clusters, k-means, PiCIE, SmooSeg and STEGO have no background: refine with
    --background none; uosam run, which goes on to refine and score, knows.
    A run that was stopped goes on where it stopped.

    uosam coarse photos masks --k 12

    uosam coarse photos masks --model imagenet --vocabulary voc

    uosam coarse photos masks --model pass --checkpoint pass50_finetuning.pth.tar

    uosam coarse photos masks --model stego --checkpoint cocostuff27.ckpt -s crf=true
    """
    import sys

    from uosam.cli.progress import show_progress
    from uosam.errors import ConfigError
    from uosam.io.pairs import find_pictures
    from uosam.io.stores.mounts import as_given, mount
    from uosam.runs.coarse import label_folder
    from uosam.runs.coarse_models import CoarseOptions, choose_clusters, describe_model
    from uosam.runs.summary import describe
    from uosam.text import printable

    parsed = _parse(settings or [])
    if k is not None:
        if model not in (None, "clusters", "kmeans"):
            raise ConfigError(f"--k is for k-means, got --model {model}; leave one of them out")
        model, parsed = model or choose_clusters(parsed), {**parsed, "classes": k}
    if over is not None:
        if model != "clusters":
            raise ConfigError(
                f"--over is for --model clusters, got {model or 'no model'}; leave it out, or "
                "pip install 'uosam[imagenet]' and give --k"
            )
        parsed = {**parsed, "over": over}
    if vocabulary is not None:
        parsed = {**parsed, "vocabulary": vocabulary}
    if model is None:
        raise ConfigError("coarse needs a model; give --model NAME, or --k K for k-means")
    options = CoarseOptions(
        model=model,
        checkpoint=checkpoint,
        device=device,
        settings=parsed,
        scores=scores and str(mount(Path(scores), keep=True)),
        compress=compress,
        overwrite=overwrite,
    )
    # As "python -m" does: a method or model of one's own may lie where one works.
    sys.path.append(str(Path.cwd()))
    spread = read_spread(shard, engine, gpus)
    images, out = mount(images), mount(out, keep=True)
    samples, unreadable = find_pictures(images)
    with resumable(), show_progress(len(spread.take(samples)), verb="labelling") as on_outcome:
        run = label_folder(
            samples, out, options, unreadable=unreadable, spread=spread, on_outcome=on_outcome
        )
    typer.echo("\n".join(describe(run)))
    if model == "clusters":
        typer.echo("classes were found with features that learnt ImageNet's labels of pictures")
    if model == "imagenet":
        _tell_names(parsed)
    facts = describe_model(model, parsed, checkpoint)
    background = " --background none" if facts.background is None else ""
    tell_next(spread, out)
    typer.echo(printable(as_given(f"next: uosam refine {images} {out} REFINED{background}")))
    if run.failures:
        raise typer.Exit(1)


def _tell_names(settings: dict[str, object]) -> None:
    """Say which names of a vocabulary ImageNet has no class for: the masks are without them."""
    from uosam.datasets.vocabulary import read_vocabulary

    missing = read_vocabulary(str(settings.get("vocabulary", "voc"))).without_synsets
    if missing:
        typer.echo(f"never labelled: {', '.join(missing)} (ImageNet has no such class)")


def _parse(settings: list[str]) -> dict[str, object]:
    """Turn NAME=VALUE texts into values as YAML reads them.

    Raises:
        ConfigError: a text has no "=", or its value is not YAML.
    """
    import yaml

    from uosam.coerce import load_yaml
    from uosam.errors import ConfigError

    parsed: dict[str, object] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        try:
            parsed[name] = load_yaml(value)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"-s {text!r} must be NAME=VALUE, got a value YAML cannot read"
            ) from error
        if not equals or not name.isidentifier():
            raise ConfigError(f"-s must be NAME=VALUE, got {text!r}")
    return parsed
