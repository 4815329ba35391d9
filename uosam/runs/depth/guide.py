"""What a run with depth as a guide needs before it starts."""

from __future__ import annotations

from pathlib import Path

from uosam.config import Config
from uosam.errors import ConfigError


def check_depth(config: Config) -> None:
    """Refuse a folder of depth that is not there or that nobody would look into.

    Raises:
        ConfigError: there is no such folder, or the global stage is left out.
    """
    folder = config.depth.folder or ""
    if not Path(folder).is_dir():
        raise ConfigError(f"depth.folder must be a folder of depth files, found none at {folder}")
    if config.refine.global_region.grid == 0:
        raise ConfigError(
            "depth is a guide for the global stage, which global_region.grid=0 leaves out; set "
            "global_region.grid=16 or leave out depth.folder"
        )
