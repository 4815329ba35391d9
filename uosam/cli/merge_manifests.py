"""``uosam merge-manifests``: shards of a run become one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[
        Path, typer.Argument(help="Output folder of a run with --shard.", show_default=False)
    ],
) -> None:
    """Put the manifests of all shards in OUT together, as if there had been one run.

    Every shard must have finished; one that was stopped is named.

    uosam merge-manifests refined
    """
    from uosam.io.stores.mounts import mount
    from uosam.runs.spread.merging import merge_manifests
    from uosam.text import one_line

    merged = merge_manifests(mount(out, keep=True))
    total = sum(merged.status.values()) + len(merged.failures)
    typer.echo(f"{'shards':<18} {merged.shards}\n{'pictures':<18} {total}")
    for status, count in merged.status.items():
        typer.echo(f"{status:<18} {count}")
    typer.echo(f"{'failed':<18} {len(merged.failures)}")
    for name, reason in merged.failures.items():
        typer.echo(one_line(f"failed: {name}: {reason}"))
    if merged.failures:
        raise typer.Exit(1)
