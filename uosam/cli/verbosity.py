"""``-v`` and ``-q``: how much is said beside the results, by Python's logging."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

from uosam.cli.stopping import sending

LOGGER = "uosam"
"""Parent of the loggers of all modules."""

Verbose = Annotated[
    int,
    typer.Option(
        "-v", "--verbose", count=True, show_default=False, help="Say more; -vv for everything."
    ),
]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Only results and errors: no progress, no warnings.")
]


def set_verbosity(verbose: int, quiet: bool) -> None:
    """Let warnings and worse reach standard error; more or less of it if asked.

    Args:
        verbose: 1 for what is done, 2 for details.
        quiet: errors only.
    """
    logger = logging.getLogger(LOGGER)
    for handler in list(logger.handlers):
        if isinstance(handler, _Handler):
            logger.removeHandler(handler)
    logger.addHandler(_Handler())
    level = logging.ERROR if quiet else max(logging.DEBUG, logging.WARNING - 10 * verbose)
    logger.setLevel(level)


def is_quiet() -> bool:
    """Tell whether progress is to be left out."""
    return logging.getLogger(LOGGER).level >= logging.ERROR


def speaking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options ``-v`` and ``-q`` of the program, so that they may come last."""
    signature = inspect.signature(command)
    if "verbose" in signature.parameters:  # groups of commands live longer than one tree of them
        return command
    hints = typing.get_type_hints(command, include_extras=True)

    @functools.wraps(command)
    def run(*, verbose: int = 0, quiet: bool = False, **arguments: Any) -> Any:
        if verbose or quiet:
            set_verbosity(verbose, quiet)
        with sending():
            return command(**arguments)

    extra = {"verbose": (Verbose, 0), "quiet": (Quiet, False)}
    parameters = [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in signature.parameters.values()
    ]
    parameters += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, (annotation, default) in extra.items()
    ]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {**hints, **{name: entry[0] for name, entry in extra.items()}}
    return run


class _Handler(logging.StreamHandler[Any]):
    """Writes to what is standard error at the time, as one line each."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_Formatter())


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = " ".join(record.getMessage().split())
        return f"{record.levelname.lower()}: {text}"
