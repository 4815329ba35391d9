"""The figures of a run: summed from its outcomes as they come, as text and as ``summary.json``."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uosam.io.stores.mounts import as_given
from uosam.runs.rows import Row
from uosam.runs.task import Outcome, Task
from uosam.text import one_line

_LISTED = 1000
"""Samples of a note that stand in ``summary.json``; the manifest has them all."""


TIMED = 20_000
"""Samples whose seconds are kept: four times what a report shows, not a million."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """The sum of all outcomes.

    Attributes:
        titles: what is shown for each status and count, in order.
        status: samples by what became of them, earlier runs included.
        counts: entries of the manifest summed, by name; by reason where they say reasons.
        skipped: how many samples were done by an earlier run.
        failures: reason by name of the sample, or by file or folder.
        unpaired: files that belong to no sample.
        notes: what a reader of the results must know, with the samples it is true of, the first
            thousand of them; of none if it is of the whole run.
        noted: of how many samples each of the notes is true.
        seconds: by stage, summed over workers; of this run alone.
        wall: seconds that this run took.
        times: seconds of each sample that this run worked at, of the first ``TIMED``.
    """

    titles: Mapping[str, str]
    status: Mapping[str, int]
    counts: Mapping[str, int | Mapping[str, int]]
    skipped: int
    failures: Mapping[str, str]
    unpaired: Sequence[str]
    notes: Mapping[str, Sequence[str]]
    noted: Mapping[str, int]
    seconds: Mapping[str, float]
    wall: float
    times: Mapping[str, float] = field(default_factory=dict)


@dataclass(eq=False, kw_only=True)
class Tally:
    """The sum so far; holds no outcome but how long it took.

    Attributes:
        task: says which entries of the manifest are summed.
        failures: reason by name of the sample, or by file or folder.
        unpaired: files that belong to no sample.
        notes: what a reader of the results must know, with the samples it is true of.
    """

    task: Task
    failures: dict[str, str]
    unpaired: list[str]
    notes: dict[str, list[str]] = field(default_factory=dict)
    _noted: Counter[str] = field(default_factory=Counter)
    _status: Counter[str] = field(default_factory=Counter)
    _counts: dict[str, Counter[str]] = field(init=False)
    _seconds: dict[str, float] = field(default_factory=dict)
    _times: dict[str, float] = field(default_factory=dict)
    _skipped: int = 0

    def __post_init__(self) -> None:
        """Begin every count."""
        counted = [key for key in self.task.titles if key not in self.task.statuses]
        self._counts = {key: Counter() for key in counted}

    def add(self, outcome: Outcome) -> None:
        """Add one outcome."""
        row = outcome.row
        for stage, value in outcome.seconds.items():
            self._seconds[stage] = self._seconds.get(stage, 0.0) + value
        if not outcome.skipped and len(self._times) < TIMED:
            self._times[row["name"]] = round(sum(outcome.seconds.values()), 4)
        if "error" in row:
            self.failures[row["name"]] = row["error"]
            return
        for note in row.get("notes", ()):
            self._noted[note] += 1
            names = self.notes.setdefault(note, [])
            if len(names) < _LISTED:
                names.append(row["name"])
        self._status[row["status"]] += 1
        self._skipped += outcome.skipped
        for key, counter in self._counts.items():
            by_reason = key in self.task.reasons
            counter.update(row[key] if by_reason else {"": row[key]})

    def sum_up(self, wall: float) -> Run:
        """Return the figures.

        Args:
            wall: seconds that the run took.
        """
        counts: dict[str, int | Mapping[str, int]] = {
            key: dict(counter.most_common()) if key in self.task.reasons else counter[""]
            for key, counter in self._counts.items()
        }
        return Run(
            titles=self.task.titles,
            status={key: self._status[key] for key in self.task.statuses},
            counts=counts,
            skipped=self._skipped,
            failures=self.failures,
            unpaired=self.unpaired,
            notes=self.notes,
            noted=dict(self._noted),
            seconds=self._seconds,
            wall=wall,
            times=self._times,
        )


def encode_summary(run: Run, header: Row, inputs: Sequence[Path] = ()) -> bytes:
    """Return ``summary.json``: the figures, what made them and where; never the same twice."""
    figures = {
        **run.status,
        "skipped": run.skipped,
        "failures": run.failures,
        "unpaired": list(run.unpaired),
        "notes": {note: list(names) for note, names in run.notes.items()},
        "noted": dict(run.noted),
        **run.counts,
        "seconds": run.seconds,
        "wall": run.wall,
        "times": run.times,
        "inputs": [str(path.resolve()) for path in inputs],
    }
    where = {"python": platform.python_version(), "machine": platform.machine()}
    text = json.dumps({**figures, **header, **where}, indent=2)
    return f"{as_given(text)}\n".encode()


_NAMED = 3
"""Samples that a note names; more stand in ``summary.json``."""


def describe(run: Run, most: int = 10) -> list[str]:
    """Put a run into lines of text: figures, files without a partner, failures one by one.

    Args:
        run: as summed up.
        most: unpaired files to list; the others are counted and stand in ``summary.json``.
    """
    figures: list[tuple[str, str]] = [
        (run.titles[key], str(count)) for key, count in run.status.items()
    ]
    if run.skipped:
        share = "of both " if len(figures) == 2 else ""
        title, text = figures[-1]
        figures[-1] = (title, f"{text} ({run.skipped} {share}by an earlier run)")
    figures += [("failed", str(len(run.failures))), ("unpaired", str(len(run.unpaired)))]
    lines = [f"{title:<18} {text}" for title, text in figures]
    for key, count in run.counts.items():
        reasons = count if isinstance(count, Mapping) else {}
        total = sum(reasons.values()) if isinstance(count, Mapping) else count
        lines.append(f"{run.titles[key]:<18} {total}")
        lines += [f"  {number:8d}  {reason}" for reason, number in reasons.items()]
    lines.append(f"{'seconds':<18} {run.wall:.1f}")
    lines += [f"  {value:8.1f}  {stage}" for stage, value in run.seconds.items()]
    lines += [f"unpaired: {path}" for path in run.unpaired[:most]]
    if len(run.unpaired) > most:
        lines.append(f"unpaired: and {len(run.unpaired) - most} more, listed in summary.json")
    for note, names in run.notes.items():
        some = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        count = run.noted.get(note, 0)
        lines.append(f"note: {note}" + (f" ({count} of them: {some})" if names else ""))
    lines += [f"failed: {name}: {reason}" for name, reason in run.failures.items()]
    return [one_line(as_given(line)) for line in lines]
