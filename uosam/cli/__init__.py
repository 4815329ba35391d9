"""The ``uosam`` command: one file per subcommand, each a few lines over one library call.

May import every room, inside functions: nothing heavy at the top, so that help answers at once.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

import typer

from uosam import __version__
from uosam.cli.verbosity import Quiet, Verbose, set_verbosity, speaking
from uosam.errors import UosamError

COMMANDS = (
    "run",
    "coarse",
    "refine",
    "name",
    "caption",
    "proposals",
    "eval",
    "eval-captions",
    "bench",
    "ablate",
    "submit",
    "train",
    "depth",
    "data",
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


def build_app() -> typer.Typer:
    """Assemble the command tree from ``COMMANDS``."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_root)
    for name in COMMANDS:
        module = importlib.import_module(f"uosam.cli.{name.replace('-', '_')}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(speaking(module.command))
    return app


def main() -> None:
    """Run the command line; an error the user can mend is one line and exit status 2."""
    try:
        build_app()()
    except UosamError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
