"""The ``uosam`` command: one file per subcommand, each a few lines over one library call.

May import every room, inside functions: nothing heavy at the top, so that help answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, TextIO

import typer

from uosam import __version__
from uosam.cli.verbosity import Quiet, Verbose, set_verbosity, speaking
from uosam.errors import UosamError
from uosam.text import explain, printable

COMMANDS = (
    "run",
    "coarse",
    "refine",
    "name",
    "caption",
    "proposals",
    "merge-manifests",
    "eval",
    "eval-captions",
    "bench",
    "ablate",
    "report",
    "export",
    "submit",
    "train",
    "retrain",
    "loop",
    "depth",
    "data",
    "app",
    "demo",
    "models",
    "config",
)
"""Subcommands in the order of the help page; ``uosam.cli.NAME`` holds ``command`` or ``app``."""


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"uosam {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print version."),
    ] = False,
    verbose: Verbose = 0,
    quiet: Quiet = False,
) -> None:
    """Sharpen the masks of unsupervised semantic segmentation, and score them."""
    set_verbosity(verbose, quiet)


def build_app(names: Sequence[str] = COMMANDS) -> typer.Typer:
    """Assemble the command tree from these subcommands."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_root)
    for name in names:
        module = importlib.import_module(f"uosam.cli.{name.replace('-', '_')}")
        if hasattr(module, "app"):
            for registered in module.app.registered_commands:
                registered.callback = speaking(registered.callback)
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(speaking(module.command))
    return app


def main() -> None:
    """Run the command line; an error is one line and exit status 2, whoever caused it.

    With ``UOSAM_DEBUG`` in the environment an error that nobody foresaw shows where it came from.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever called
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    status = _run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has read enough
        _drop(sys.stdout)
        status = _BROKEN_PIPE
    except OSError as error:
        _drop(sys.stdout)
        status = _fail(f"standard output: {explain(error)}")
    with contextlib.suppress(OSError):
        sys.stderr.flush()
        sys.exit(status)
    _drop(sys.stderr)
    sys.exit(status)


_BROKEN_PIPE = 141
"""What shells report of a program that wrote into a pipe without a reader."""


def _asked(arguments: Sequence[str]) -> Sequence[str]:
    """Return the one command that is asked for, which starts sooner than the tree of all.

    >>> _asked(["eval", "--help"]), _asked(["--help"]) == COMMANDS
    (['eval'], True)
    """
    return arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS


def _run() -> int:
    """Return the exit status of the command that was asked for."""
    try:
        build_app(_asked(sys.argv[1:]))()
    except SystemExit as end:  # typer ends so, whatever happened
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BrokenPipeError:
        _drop(sys.stdout)
        return _BROKEN_PIPE
    except UosamError as error:
        return _fail(printable(str(error)))
    except Exception as error:
        if os.environ.get("UOSAM_DEBUG"):
            raise
        return _fail(explain(error))
    return 0


def _fail(reason: str) -> int:
    # Known only to whoever used a store; no command pays for it.
    stores = sys.modules.get("uosam.io.stores.mounts")
    reason = reason if stores is None else stores.as_given(reason)
    with contextlib.suppress(OSError):
        typer.echo(f"error: {reason}", err=True)
    return 2


def _drop(stream: TextIO) -> None:
    """Let what is left of a stream go nowhere, so that Python does not fail at it once more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
