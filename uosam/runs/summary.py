"""The figures of a run: summed from its outcomes, as text and as ``summary.json``."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from uosam.runs.manifest import Row
from uosam.runs.task import Outcome


@dataclass(frozen=True, kw_only=True)
class Run:
    """The sum of all outcomes.

    Attributes:
        refined: samples whose map changed, earlier runs included.
        kept: samples whose map came back as it was, earlier runs included.
        skipped: how many of both were done by an earlier run.
        failures: reason by name of the sample, or by file or folder.
        unpaired: pictures without a mask and masks without a picture.
        accepted: objects redrawn.
        rejected: objects kept as they were, by reason.
        seconds: by stage, summed over workers; of this run alone.
        wall: seconds that this run took.
    """

    refined: int
    kept: int
    skipped: int
    failures: Mapping[str, str]
    unpaired: Sequence[str]
    accepted: int
    rejected: Mapping[str, int]
    seconds: Mapping[str, float]
    wall: float


def sum_up(
    outcomes: Iterable[Outcome], failures: Mapping[str, str], unpaired: Sequence[str], wall: float
) -> Run:
    """Add the outcomes up.

    Args:
        outcomes: one per sample.
        failures: of the run itself, reason by file.
        unpaired: files without a partner.
        wall: seconds.
    """
    status: Counter[str] = Counter()
    failed, skipped, accepted = dict(failures), 0, 0
    rejected: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    for outcome in outcomes:
        row = outcome.row
        for stage, value in outcome.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
        if "error" in row:
            failed[row["name"]] = row["error"]
            continue
        status[row["status"]] += 1
        skipped += outcome.skipped
        accepted += row["accepted"]
        rejected.update(row["rejected"])
    return Run(
        refined=status["refined"],
        kept=status["kept"],
        skipped=skipped,
        failures=failed,
        unpaired=unpaired,
        accepted=accepted,
        rejected=dict(rejected.most_common()),
        seconds=seconds,
        wall=wall,
    )


def encode_summary(run: Run, header: Row) -> bytes:
    """Return ``summary.json``: the figures, what made them and where; never the same twice."""
    where = {"python": platform.python_version(), "machine": platform.machine()}
    return (json.dumps({**asdict(run), **header, **where}, indent=2) + "\n").encode()


def describe(run: Run, most: int = 10) -> list[str]:
    """Put a run into lines of text: figures, files without a partner, failures one by one.

    Args:
        run: as summed up.
        most: unpaired files to list; the others are counted and stand in ``summary.json``.
    """
    earlier = f" ({run.skipped} of both by an earlier run)" if run.skipped else ""
    lines = [
        f"refined            {run.refined}",
        f"kept as they were  {run.kept}{earlier}",
        f"failed             {len(run.failures)}",
        f"unpaired           {len(run.unpaired)}",
        f"objects redrawn    {run.accepted}",
        f"objects kept       {sum(run.rejected.values())}",
    ]
    lines += [f"  {count:8d}  {reason}" for reason, count in run.rejected.items()]
    lines.append(f"seconds            {run.wall:.1f}")
    lines += [f"  {value:8.1f}  {stage}" for stage, value in run.seconds.items()]
    lines += [f"unpaired: {path}" for path in run.unpaired[:most]]
    if len(run.unpaired) > most:
        lines.append(f"unpaired: and {len(run.unpaired) - most} more, listed in summary.json")
    lines += [f"failed: {name}: {reason}" for name, reason in run.failures.items()]
    return [line.encode(errors="backslashreplace").decode() for line in lines]
