"""What an evaluation is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from uosam.errors import ConfigError, unknown
from uosam.evaluation.pairs import Job
from uosam.metrics.bootstrap import Interval
from uosam.metrics.clusters import NameScores
from uosam.metrics.geometry import Geometry
from uosam.metrics.luss import SizeRule
from uosam.metrics.matching import Solver
from uosam.metrics.protocols import Matching, Protocol, find_protocol
from uosam.metrics.scores import Absent
from uosam.metrics.summary import Summary

HEADLINES = (
    "mIoU",
    "boundary_mIoU",
    "image_accuracy",
    "F_beta",
    "object_IoU",
    "object_boundary_IoU",
)
"""Scores that get intervals and comparisons."""

_MOST_THRESHOLDS = 1001
"""Thresholds of one sweep: every image is counted once for each."""

_CHOICES = {
    "matching": Matching,
    "solver": Solver,
    "absent": Absent,
    "geometry": Geometry,
    "sizes": SizeRule,
}


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How an evaluation is done; None keeps what the protocol says.

    Attributes:
        protocol: key of ``PROTOCOLS``.
        matching: how clusters are given classes.
        solver: which optimum a matching takes.
        absent: what a class without pixels counts.
        geometry: what is scored at which size.
        background: id that is no object, "none" where every id is a class.
        boundary_ratio: depth of boundaries, as a part of the image diagonal.
        sizes: rule of the LUSS size buckets, before or since March 2022.
        thresholds: foreground scores to cut at, in [0, 1]; of several, the one of best mIoU wins.
        trimap: half-widths of trimap bands in pixels.
        boundary_f: tolerance of the DAVIS boundary F, or None; it reads all files once more.
        match: predicted id to class id, given instead of found.
        named: predicted id to the class of its name, to tell how many names are right.
        resamples: draws of the bootstrap; 0 leaves intervals out.
        level: part of the draws that an interval covers.
        workers: processes.
        colours: table by which RGB masks are read, as ``uosam.io.codecs.LabelOptions``.
    """

    protocol: str = "plain"
    matching: Matching | None = None
    solver: Solver | None = None
    absent: Absent | None = None
    geometry: Geometry | None = None
    background: int | Literal["none"] | None = None
    boundary_ratio: float | None = None
    sizes: SizeRule = "current"
    thresholds: tuple[float, ...] = ()
    trimap: tuple[int, ...] = ()
    boundary_f: float | None = None
    match: Mapping[int, int] | None = None
    named: Mapping[int, int] | None = None
    resamples: int = 1000
    level: float = 0.95
    workers: int = 1
    colours: str | None = None

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: a value is out of range or an unknown word.
        """
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in get_args(known):
                raise unknown(name, str(value), get_args(known))
        if self.background not in (None, "none") and (
            isinstance(self.background, str) or not 0 <= self.background < 1 << 31
        ):
            raise ConfigError(f"background must be an id or 'none', got {self.background!r}")
        if len(self.thresholds) > _MOST_THRESHOLDS:
            raise ConfigError(
                f"thresholds must be {_MOST_THRESHOLDS} at most, got {len(self.thresholds)}"
            )
        if any(not 0 <= t <= 1 for t in self.thresholds):
            raise ConfigError(
                f"thresholds must be fractions in [0, 1], got {max(self.thresholds)}; "
                "PASS's evaluator takes percent"
            )
        if any(width < 1 for width in self.trimap):
            raise ConfigError(f"trimap widths must be 1 pixel or more, got {min(self.trimap)}")
        for name in ("boundary_ratio", "boundary_f"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        for name, fits, range_ in (
            ("resamples", self.resamples >= 0, "0 or more"),
            ("workers", self.workers >= 1, "1 or more"),
            ("level", 0 < self.level < 1, "between 0 and 1"),
        ):
            if not fits:
                raise ConfigError(f"{name} must be {range_}, got {getattr(self, name)}")

    def resolve(self) -> Protocol:
        """Return the protocol with these options in place of its own settings.

        Raises:
            ConfigError: there is no protocol of this name, or it reads no colour table.
        """
        protocol = find_protocol(self.protocol)
        if protocol.luss and self.colours is not None:
            raise ConfigError(
                f"--protocol {self.protocol} reads RGB as id = R + 256 G, got the colour table "
                f"{self.colours!r} too; leave out --colours, or take --protocol plain"
            )
        names = ("matching", "solver", "absent", "geometry", "boundary_ratio", "colours")
        changes = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.background is not None:
            changes["background"] = None if self.background == "none" else self.background
        return replace(protocol, **changes)


@dataclass(frozen=True, eq=False, kw_only=True)
class MethodResult:
    """What was found about one method.

    Attributes:
        name: for tables.
        path: where its predictions are; None for arrays.
        summary: scores, matching, classes and objects.
        intervals: of the headline scores, in [0, 1].
        threshold: the cut that was chosen, or None.
        sweep: mIoU at each threshold, in [0, 1].
        names: how often the names of its clusters are right, or None without names.
    """

    name: str
    path: Path | None
    summary: Summary
    intervals: Mapping[str, Interval]
    threshold: float | None
    sweep: Mapping[float, float]
    names: NameScores | None = None

    @property
    def values(self) -> dict[str, float]:
        """Every score by name, in [0, 1]; nan where it is not defined."""
        return {name: score.value() for name, score in self.summary.scores.items()}


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """A method against the first one, on the same images.

    Attributes:
        name: of the method.
        differences: method - first, of each headline score, in [-1, 1].
        images_worse: part of the images whose mean object IoU fell.
        objects_worse: part of the objects whose IoU fell.
        objects_worse_1: part of the objects whose IoU fell by more than 0.01.
    """

    name: str
    differences: Mapping[str, Interval]
    images_worse: float
    objects_worse: float
    objects_worse_1: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluation:
    """The result of an evaluation; printed, it is the tables of ``uosam eval``.

    Attributes:
        options: as asked.
        protocol: as resolved.
        images: names of the scored images, in order.
        methods: in the order given.
        comparisons: every method but the first against the first.
        notes: what a reader of the numbers must know.
        target: folder or file of the ground truth; None for arrays.
        jobs: the files of each image; none for arrays.
    """

    options: EvaluateOptions
    protocol: Protocol
    images: tuple[str, ...]
    methods: tuple[MethodResult, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    target: Path | None = None
    jobs: tuple[Job, ...] = ()

    @property
    def scores(self) -> dict[str, float]:
        """Every score of the first method by name, in [0, 1]."""
        return self.methods[0].values

    def __str__(self) -> str:
        """Return tables and notes as aligned text."""
        from uosam.evaluation.report import to_plain

        return to_plain(self)

    def _repr_markdown_(self) -> str:
        """Return tables and notes as Markdown, which notebooks show."""
        from uosam.evaluation.report import to_markdown

        return to_markdown(self)
