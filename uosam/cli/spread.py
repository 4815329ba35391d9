"""The flags that spread a run over machines, of every command over folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uosam.runs.spread.launch import Spread

ShardFlag = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do one of N parts, I from 1 to N, into the same OUT as the others; then 'uosam "
        "merge-manifests OUT'.",
    ),
]
EngineFlag = Annotated[
    str,
    typer.Option(
        "--engine",
        help="local, or ray: on the cluster of RAY_ADDRESS, else on this machine; --workers is "
        "then the number of actors.",
    ),
]
GpusFlag = Annotated[
    float, typer.Option("--gpus", help="With --engine ray: GPUs of each actor, such as 1 or 0.25.")
]


def read_spread(
    shard: str | None, engine: str = "local", gpus: float = 0.0, workers: str | int | None = None
) -> Spread:
    """Return what the flags say.

    Raises:
        ConfigError: a flag of another form.
    """
    from uosam.runs.spread.launch import Spread
    from uosam.runs.spread.shard import parse_shard

    text = str(workers)
    actors = int(text) if engine == "ray" and text.lstrip("-").isdecimal() else None
    return Spread(
        shard=parse_shard(shard),
        engine=engine,  # type: ignore[arg-type]  # checked there
        gpus=gpus,
        actors=actors,
    )


def tell_next(spread: Spread, out: object, then: str = "") -> None:
    """Say what follows once all shards are done."""
    from uosam.io.stores.mounts import as_given
    from uosam.text import printable

    if spread.shard is not None:
        after = f", then {then}" if then else ""
        shown = as_given(str(out))
        typer.echo(
            printable(
                f"next: when all {spread.shard.count} shards are done, "
                f"uosam merge-manifests {shown}{after}"
            )
        )
