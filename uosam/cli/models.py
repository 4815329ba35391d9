"""``uosam models``: which models there are, where their weights lie, and how to get them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

_WIDE = 76
"""Columns from which on the table has room for the names of the files."""

