"""``uosam config``: print every setting as it would be used."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    config: Annotated[
        str | None, typer.Option("-c", "--config", metavar="FILE|NAME", help="YAML of settings.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("-s", "--set", metavar="SECTION.KEY=VALUE", help="Setting.")
    ] = None,
) -> None:
    """Print all settings as YAML: defaults, then -c, then -s.

    The output is a complete file for -c; keep the lines that you change.
    """
    from uosam.config import dump_config, load_config

    typer.echo(dump_config(load_config(config, settings or [])), nl=False)
