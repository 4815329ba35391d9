"""The tables of the network benchmark, from its stored rows."""

from pathlib import Path


def fill_files(results: Path) -> None:
    """Write them."""
