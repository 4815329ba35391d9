"""The gate: how much an answer is expected to gain over the coarse shape, by fitted trees.

``benchmarks/fit_judge.py`` fits them with scikit-learn on training pictures; here they are read
from a file of numbers and evaluated. Each segmenter has its own, for its own scores.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from uosam.errors import InputError
from uosam.stages.judging.candidates import KINDS
from uosam.stages.judging.evidence import FEATURES
from uosam.structures import Backend, Decision, Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class Judge:
    """T regression trees of at most N nodes over the evidence; their sum is the expected gain.

    Attributes:
        kinds: of answers that it was fitted on, of ``candidates.KINDS``.
        columns: (F,) columns of ``evidence`` that it looks at.
        start: what is added to the sum.
        column: (T, N) index into ``columns``; a leaf has -1.
        threshold: (T, N) up to which the left branch is taken.
        left: (T, N) node of the left branch; the right one follows it.
        value: (T, N) of the leaves, in points of IoU as a share, 0 elsewhere.
    """

    kinds: tuple[str, ...]
    columns: NDArray[np.int64]
    start: float
    column: NDArray[np.int64]
    threshold: Floats
    left: NDArray[np.int64]
    value: Floats

    def expected_gain(self, evidence: Floats) -> Floats:
        """Estimate by how much each answer's IoU exceeds that of the coarse shape.

        Args:
            evidence: (K, F) in the order of ``FEATURES``.

        Returns:
            (K,) in [-1, 1]; losses count more than gains, as they did in the fit.
        """
        seen = evidence[:, self.columns]
        trees = np.arange(len(self.left))[None]
        node = np.zeros((len(seen), len(self.left)), np.int64)
        row = np.arange(len(seen))[:, None]
        while True:
            column = self.column[trees, node]
            inner = column >= 0
            if not inner.any():
                break
            right = seen[row, np.maximum(column, 0)] > self.threshold[trees, node]
            node = np.where(inner, self.left[trees, node] + right, node)
        total = self.start + self.value[trees, node].sum(axis=1)
        return np.asarray(np.clip(total, -1, 1), np.float32)


def read_judge(text: str) -> Judge:
    """Read a judge from JSON, as ``benchmarks/fit_judge.py`` writes it.

    Each tree is a list of nodes, the root first: ``[column, threshold, left]`` or ``[value]``.

    Raises:
        InputError: it names features or kinds of answers that are not known here.
    """
    stored = json.loads(text)
    for name, known in (("features", FEATURES), ("kinds", KINDS)):
        strange = sorted(set(stored[name]) - set(known))
        if strange:
            raise InputError(
                f"the judge's {name} must be among {', '.join(known)}, got {', '.join(strange)}; "
                "fit it again with benchmarks/fit_judge.py"
            )
    trees = stored["trees"]
    most = max(len(tree) for tree in trees)
    column = np.full((len(trees), most), -1, np.int64)
    threshold = np.zeros((len(trees), most), np.float32)
    left = np.zeros((len(trees), most), np.int64)
    value = np.zeros((len(trees), most), np.float32)
    for index, tree in enumerate(trees):
        for place, node in enumerate(tree):
            if len(node) == 1:
                value[index, place] = node[0]
            else:
                column[index, place], threshold[index, place], left[index, place] = node
    return Judge(
        kinds=tuple(stored["kinds"]),
        columns=np.array([FEATURES.index(name) for name in stored["features"]], np.int64),
        start=float(stored["start"]),
        column=column,
        threshold=threshold,
        left=left,
        value=value,
    )


@cache
def packaged_judge(package: str) -> Judge | None:
    """Read ``judge.json`` of a package; None without one."""
    file = files(package).joinpath("judge.json")
    return read_judge(file.read_text(encoding="utf-8")) if file.is_file() else None


def judge_of(backend: Backend) -> Judge | None:
    """Return the judge that a backend comes with, in its attribute ``judge``; None without one."""
    judge: Judge | None = getattr(backend, "judge", None)
    return judge


def expected_gains(verdicts: Sequence[Decision]) -> dict[str, int]:
    """Count redrawn objects by the gain that the judge expects; those of the rule are left out.

    >>> one = Decision(label=1, accepted=True, reason="", score=1, agreement=0, area=9, gain=0.07)
    >>> expected_gains([one, one])
    {'3 to 10 points of IoU': 2}
    """
    gains = [verdict.gain for verdict in verdicts if verdict.accepted and verdict.gain > 0]
    names = ("less than 3 points", "3 to 10 points of IoU", "10 points and more")
    return dict(Counter(names[(gain >= 0.03) + (gain >= 0.1)] for gain in gains))
