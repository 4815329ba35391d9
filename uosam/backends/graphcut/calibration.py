"""The coefficients of the graph cut, as fitted on training pictures."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np

from uosam.structures import Floats


@cache
def calibration() -> dict[str, Floats]:
    """Read the coefficients that ``benchmarks/fit_graphcut.py`` fitted."""
    text = files("uosam.backends.graphcut").joinpath("graphcut.json").read_text()
    return {name: np.asarray(value, np.float32) for name, value in json.loads(text).items()}
