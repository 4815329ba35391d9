"""How commands end: what they say when they are stopped, and what is sent when they are not."""

from __future__ import annotations

import sys
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


@contextmanager
def sending() -> Iterator[None]:
    """Send outputs that wait for the end of a command, unless it came to nothing.

    A run of which some pictures failed has an exit status of 1 and its results.
    """
    ended: typer.Exit | None = None
    try:
        yield
    except typer.Exit as end:
        ended = end
    except BaseException:
        _outbox("abandon")
        raise
    _outbox("deliver" if ended is None or ended.exit_code in (0, 1) else "abandon")
    if ended is not None:
        raise ended


def _outbox(what: str) -> None:
    # Known only to whoever used a store; no command pays for it.
    if "uosam.io.stores.mounts" in sys.modules:
        from uosam.io.stores import outbox

        getattr(outbox, what)()
