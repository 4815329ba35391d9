"""``uosam refine`` of one picture: no manifest, nothing but the file that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from uosam.config import Config
    from uosam.structures import Guide


def refine_file(image: Path, mask: Path, out: Path, config: Config, as_json: bool) -> None:
    """Refine one mask into a file; nothing else is written, and nothing is replaced unasked."""
    import json
    from dataclasses import asdict, replace

    from uosam.api.refiner import Refiner
    from uosam.errors import ConfigError, InputError
    from uosam.io.atomic import write_atomic
    from uosam.io.depth import DepthOptions
    from uosam.report.overlay import encode_confidence

    if out.exists() and not config.engine.overwrite:
        raise ConfigError(f"{out} is there already; give --overwrite, or another name")
    if any(out.resolve() == path.resolve() for path in (image, mask)):
        raise ConfigError(f"{out} would be overwritten; give another name for the result")
    guide = _read_guide(mask, config) if config.depth.folder else None
    result = Refiner(config=replace(config, depth=DepthOptions()))(image, mask, guide=guide)
    try:
        result.save(out)
        if config.engine.overlay:
            result.save(Path(config.engine.overlay) / f"{out.stem}.jpg", drawing=True)
        if config.engine.confidence:
            grey = encode_confidence(result.image, result.coarse, result, result.spec)
            write_atomic(Path(config.engine.confidence) / f"{out.stem}.png", grey)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written ({error.strerror})") from error
    if as_json:
        figures = {
            "output": str(out),
            "decisions": [asdict(verdict) for verdict in result.verdicts],
            "seconds": dict(result.seconds),
        }
        typer.echo(json.dumps(figures, indent=2))
    else:
        typer.echo(f"{out}: {result!r}")


def _read_guide(mask: Path, config: Config) -> Guide | None:
    """Read the depth of a single picture: the file itself, or that of the mask's name."""
    from uosam.errors import InputError
    from uosam.geometry.render import make_guide
    from uosam.io.depth import find_depth, read_depth

    options = config.depth
    path: Path | None = Path(options.folder or "")
    if path is not None and not path.is_file():
        path = find_depth(path, mask.stem)
    if path is None:
        if options.optional:
            return None
        raise InputError(f"{options.folder}: expected depth of the name {mask.stem}, found none")
    return make_guide(read_depth(path, options.encoding, resize=options.resize), options)
