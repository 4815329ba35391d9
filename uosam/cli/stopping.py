"""What all commands say that go on where they were stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

_STOPPED = 130
"""Exit status of a program that Ctrl-C ended, as shells have it."""


@contextmanager
def resumable() -> Iterator[None]:
    """Turn Ctrl-C into one line and an exit status: what is done is kept."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(_STOPPED) from None
