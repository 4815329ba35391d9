"""Sharpen the masks of unsupervised semantic segmentation, and score them.

>>> import uosam
>>> uosam.refine("photo.jpg", "mask.png").save("refined.png")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uosam.api.captions import caption as caption
    from uosam.api.names import name as name
    from uosam.api.refiner import Refiner as Refiner
    from uosam.api.refiner import refine as refine
    from uosam.api.scores import Scores as Scores
    from uosam.api.scores import evaluate as evaluate

__version__ = "0.1.0"

_HOMES = {
    "Refiner": "uosam.api.refiner",
    "Scores": "uosam.api.scores",
    "caption": "uosam.api.captions",
    "evaluate": "uosam.api.scores",
    "name": "uosam.api.names",
    "refine": "uosam.api.refiner",
}
"""What the package offers and where it is written; imported when it is first asked for, so that
``import uosam`` costs nothing; the imports above are for type checkers."""


def __getattr__(name: str) -> Any:
    """Import what is asked for the first time (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'uosam' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name what can be asked for, imported or not."""
    return sorted({*globals(), *_HOMES})
