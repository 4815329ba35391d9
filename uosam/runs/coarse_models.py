"""The table of USS models: where each lies, what its masks look like, which id is no object.

The models live in ``uosam.baselines``; text names them, so that listing imports nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class UssModel:
    """What is known of a model before it is loaded.

    Attributes:
        load: ``module:function`` that loads it.
        background: id that is no object, or None where every id is a class.
        codec: encoding in which its community writes masks.
        clusters: whether its ids are clusters, of which nobody has said which class they are.
    """

    load: str
    background: int | None
    codec: str = "index8"
    clusters: bool = True


MODELS = {
    "cause": UssModel(load="uosam.baselines.cause:load", background=None),
    "hp": UssModel(load="uosam.baselines.hp:load", background=None),
    "kmeans": UssModel(load="uosam.baselines.kmeans:load", background=None),
    "maskcontrast": UssModel(load="uosam.baselines.maskcontrast:load_fitted", background=0),
    "maskcontrast-linear": UssModel(
        load="uosam.baselines.maskcontrast_linear:load", background=0, clusters=False
    ),
    "pass": UssModel(load="uosam.baselines.pass_:load", background=0, codec="luss"),
    "picie": UssModel(load="uosam.baselines.picie:load", background=None),
    "smooseg": UssModel(load="uosam.baselines.smooseg:load", background=None),
    "stego": UssModel(load="uosam.baselines.stego:load", background=None),
}

REFERENCES = {name: model.load for name, model in MODELS.items()}
"""Name to ``module:function``, for ``lookup``."""


def describe_model(name: str) -> UssModel:
    """Return the facts of a key of ``MODELS``; another name is code that writes grey ids, 0 none.

    >>> describe_model("stego").background is None, describe_model("mylab.net:load").background
    (True, 0)
    """
    return MODELS.get(name, UssModel(load=name, background=0, clusters=False))
