"""What a manifest tells of each object of a picture, written and read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uosam.structures import Decision, LabelMap, Refinement

FIELDS = ("label", "accepted", "reason", "score", "agreement", "area", "answer", "gain")
"""Fields of ``Decision`` in the order of a row."""


def make_details(
    result: Refinement, coarse: LabelMap, verdicts: Sequence[Decision]
) -> dict[str, Any]:
    """Return the entries: how many objects were redrawn, why others were not, and each of them.

    "changed" is the share of pixels with another label, "confidence" the mean.
    """
    rejected = Counter(verdict.reason for verdict in verdicts if not verdict.accepted)
    return {
        "accepted": sum(verdict.accepted for verdict in verdicts),
        "rejected": dict(sorted(rejected.items())),
        "changed": round(float(np.mean(result.labels != coarse)), 6),
        "confidence": round(float(result.confidence.mean()), 4),
        "objects": [_row(verdict) for verdict in verdicts],
    }


def _row(verdict: Decision) -> list[Any]:
    values = [getattr(verdict, name) for name in FIELDS]
    return [round(value, 4) if isinstance(value, float) else value for value in values]


def read_objects(row: Mapping[str, Any]) -> list[Decision]:
    """Return the decisions of a row of a manifest; what is none is passed over.

    >>> read_objects({"objects": [[3, True, "accepted", 0.9, 0.8, 50, "first", 0.1], ["x"], 5]})
    ... # doctest: +ELLIPSIS
    [Decision(label=3, accepted=True, reason='accepted', score=0.9, ..., gain=0.1)]
    """
    kinds = (int, bool, str, float, float, int, str, float)
    found = []
    objects = row.get("objects")
    for values in objects if isinstance(objects, list) else []:
        if isinstance(values, list) and len(values) == len(FIELDS):
            whole = all(
                isinstance(value, (int, float) if kind is float else kind)
                for value, kind in zip(values, kinds, strict=True)
            )
            if whole:
                found.append(Decision(**dict(zip(FIELDS, values, strict=True))))
    return found


def read_number(row: Mapping[str, Any], key: str) -> float | None:
    """Return a number of a row, or None where there is none.

    >>> read_number({"changed": 0.25}, "changed"), read_number({"changed": "x"}, "changed")
    (0.25, None)
    """
    value = row.get(key)
    finite = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9
    return float(value) if finite and value is not None else None
