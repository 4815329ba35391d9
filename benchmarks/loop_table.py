"""The tables of the loop, from the stored rows of ``benchmarks.loop`` into README and docs/loop.md.

A number is the mean over the seeds of a set; the ends of its interval are the means of the ends of
the seeds' paired intervals, so it is no narrower for there being several seeds. Sets are
independent: the interval of a mean over sets is what theirs come to by the rule of squares.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import README, TOP
from benchmarks.loop import RESULTS, SETS, SIDE, TABLE
from benchmarks.loop_scores import HEADLINES
from benchmarks.marked import fill
from uosam.errors import InputError

PAGE = TOP / "docs" / "loop.md"

REFINED = "loop, round 0, refined"
FIRST = ("k-means", "given")
STEPS = {
    "k-means": "k-means",
    "dense CRF": "dense CRF on the clusters",
    "SAMRefiner": "SAMRefiner on the clusters",
    REFINED: "refined",
    "refined in four rounds": "refined in four rounds",
    "loop, round 1, coarse": "retrained",
    "loop, round 1, refined": "retrained, refined",
    "loop, round 2, coarse": "retrained twice",
    "loop, round 2, refined": "retrained twice, refined",
    "loop, kept": "kept by the loop",
    "no refining, round 1, coarse": "retrained without refining",
    "SAMRefiner loop, round 1, coarse": "SAMRefiner's loop: retrained",
    "SAMRefiner loop, round 1, refined": "SAMRefiner's loop: retrained, refined",
    "SAMRefiner loop, round 2, refined": "SAMRefiner's loop: retrained twice, refined",
}
"""Steps in the order of the tables, and what they are called there."""
OTHERS = (REFINED, "loop, round 1, coarse", "loop, round 1, refined", "loop, kept")
"""Steps of the table of single runs."""

Rows = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""Rows by set and step, one a seed."""


def usual(row: Mapping[str, Any]) -> bool:
    """Tell whether a row is of the sets, pictures and schedule of the main tables."""
    name = row["set"]
    return (
        name in TABLE
        and not row["settings"]
        and (row["side"], row["schedule"], row["images"]) == (SIDE, "short", SETS[name].amount)
    )


def read(results: Path) -> list[dict[str, Any]]:
    """Return the stored rows, the newest of each step.

    Raises:
        InputError: there is none.
    """
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    newest: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in map(json.loads, lines):
        names = ("set", "images", "side", "schedule", "settings", "step", "seed")
        newest[tuple(str(row[name]) for name in names)] = row
    if not newest:
        raise InputError(f"{results.name} must hold a set, run benchmarks.loop first")
    return list(newest.values())


def by_step(rows: Sequence[dict[str, Any]]) -> Rows:
    """Return the rows of the main tables by set and step, in order of seeds."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in sorted(filter(usual, rows), key=lambda row: int(row["seed"])):
        found.setdefault((row["set"], row["step"]), []).append(row)
    return found


def spread(rows: Sequence[Mapping[str, Any]], score: str, over: str) -> Any:
    """Return mean over seeds and the ends of its interval, in percent."""
    return 100 * np.mean([row[over][score] for row in rows], axis=0)


def pooled(parts: Sequence[Any]) -> Any:
    """Return the mean of independent (value, low, high) and its interval.

    >>> [round(float(x), 1) for x in pooled([(1.0, -2.0, 4.0), (3.0, -1.0, 7.0)])]
    [2.0, -0.5, 4.5]
    """
    values, lows, highs = np.asarray(parts, float).T
    mean, count = values.mean(), len(values)
    below, above = (np.sqrt(np.sum((ends - values) ** 2)) / count for ends in (lows, highs))
    return mean, mean - below, mean + above


def written(part: Any) -> str:
    """Write a gain with its interval, bold where it lies above 0."""
    value, low, high = part
    text = f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"**{text}**" if low > 0 else text


def title(found: Rows, step: str, sets: Sequence[str]) -> str:
    """Return what a step is called, and its seeds where they are fewer than those of k-means."""
    counts = {len(found[name, step]) for name in sets}
    whole = {len(found[name, "k-means"]) for name in sets}
    few = "" if counts == whole else f" ({_seeds(min(counts))})"
    return f"{STEPS[step]}{few}"


def steps_of(found: Rows, sets: Sequence[str]) -> list[str]:
    """Return the steps that every set has, in order."""
    return [step for step in STEPS if all((name, step) in found for name in sets)]


def summary(found: Rows, sets: Sequence[str]) -> str:
    """Return the table of means over the sets: over k-means, and over refining once."""
    lines = [
        "| masks | mIoU over k-means | mIoU over refining once | boundary mIoU over k-means | "
        "boundary mIoU over refining once | sets that gain / lose mIoU over k-means |",
        "|---|---|---|---|---|---|",
    ]
    for step in steps_of(found, sets):
        if step == "k-means":
            values = [
                100 * np.mean([np.mean([row[score] for row in found[name, step]]) for name in sets])
                for score in HEADLINES
            ]
            lines.append(f"| k-means itself | {values[0]:.1f} | | {values[1]:.1f} | | |")
            continue
        cells = []
        for score in HEADLINES:
            for over in ("gains", "over_refined"):
                told = all(over in row for name in sets for row in found[name, step])
                parts = [spread(found[name, step], score, over) for name in sets] if told else []
                cells.append(written(pooled(parts)) if told else "")
        ends = [spread(found[name, step], "mIoU", "gains")[1:] for name in sets]
        decided = f"{sum(low > 0 for low, _ in ends)} / {sum(high < 0 for _, high in ends)}"
        lines.append(f"| {title(found, step, sets)} | {' | '.join(cells)} | {decided} |")
    return "\n".join(lines)


def table(found: Rows, score: str, sets: Sequence[str]) -> str:
    """Return the table of a score: k-means, and gains over it, a row a step and a column a set."""
    lines = [f"| masks | {' | '.join(_heads(found, sets))} |", "|---|" + "---|" * len(sets)]
    for step in steps_of(found, sets):
        rows = [found[name, step] for name in sets]
        if step == "k-means":
            cells = [f"{100 * np.mean([row[score] for row in own]):.1f}" for own in rows]
        else:
            cells = [written(spread(own, score, "gains")) for own in rows]
        lines.append(f"| {title(found, step, sets)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def beyond(found: Rows, sets: Sequence[str]) -> str:
    """Return the table of what steps add to refining once: mIoU / boundary mIoU."""
    lines = [f"| masks | {' | '.join(_heads(found, sets))} |", "|---|" + "---|" * len(sets)]
    for step in steps_of(found, sets):
        rows = [found[name, step] for name in sets]
        if all("over_refined" in row for own in rows for row in own):
            parts = [[spread(own, score, "over_refined") for score in HEADLINES] for own in rows]
            cells = [" / ".join(map(written, both)) for both in parts]
            lines.append(f"| {title(found, step, sets)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _heads(found: Rows, sets: Sequence[str]) -> list[str]:
    firsts = [(name, found[name, "k-means"]) for name in sets]
    return [f"{name}: {rows[0]['classes']} classes, {_seeds(len(rows))}" for name, rows in firsts]


def student_table(found: Rows, sets: Sequence[str]) -> str:
    """Return what is told of the students: agreement, and whether they would have been used."""
    lines = ["| student | " + " | ".join(sets) + " |", "|---|" + "---|" * len(sets)]
    for number in (1, 2):
        step = f"loop, round {number}, coarse"
        cells = []
        for name in sets:
            rows = found[name, step]
            agreed = 100 * np.mean([row["agreement"] for row in rows])
            refused = sum(bool(row["refused"]) for row in rows)
            cells.append(f"{agreed:.0f} %, refused {refused} of {len(rows)}")
        lines.append(f"| of round {number} | {' | '.join(cells)} |")
    return "\n".join(lines)


def other_runs(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of everything that is not in the main tables, one run a row."""
    runs: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if not usual(row):
            words = f"{row['set']}: {row['images']} pictures of {row['side']} pixels"
            words += f", {row['classes']} classes, schedule: {row['schedule']}"
            words += f", {', '.join(row['settings'])}" if row["settings"] else ""
            words += f", seed {row['seed']}" if row["seed"] else ""
            runs.setdefault(words, {})[row["step"]] = row
    whole = {words: told for words, told in runs.items() if all(step in told for step in OTHERS)}
    if not whole:
        return ""
    heads = ["run", "first masks", *(STEPS[step] for step in OTHERS), "kept, over refining once"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for words, told in whole.items():
        first = next(told[step] for step in FIRST if step in told)
        cells = [words, " / ".join(f"{100 * first[score]:.1f}" for score in HEADLINES)]
        gains = [told[step]["gains"] for step in OTHERS] + [told[OTHERS[-1]]["over_refined"]]
        for gain in gains:
            cells.append(" / ".join(written(100 * np.array(gain[score])) for score in HEADLINES))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Return everything between the markers of docs/loop.md."""
    found = by_step(rows)
    sets = complete(found)
    commits = sorted({row["commit"][:7] for row in rows})
    first = found[sets[0], "k-means"][0]
    parts = [
        'Means over the sets in percent. "Over k-means" is the whole gain, "over refining once" '
        "what a step adds to the refiner's part:",
        summary(found, sets),
        "Set by set: mIoU, and gains over k-means,",
        table(found, "mIoU", sets),
        "boundary mIoU,",
        table(found, "boundary_mIoU", sets),
        "and what a step adds to refining once, mIoU / boundary mIoU:",
        beyond(found, sets),
        "Agreement of the students with masks held back, and how many the guard of "
        "`uosam loop` would have refused (here it was off):",
        student_table(found, sets),
    ]
    others = other_runs(rows)
    if others:
        parts += ["Single runs: mIoU / boundary mIoU, and gains over the first masks:", others]
    parts.append(
        f"Commit {', '.join(commits)}, {first['time'][:10]}, Python {first['python']}, "
        f"{first['cores']} cores, {first['cpu']}."
    )
    return "\n\n".join(parts)


def complete(found: Rows) -> list[str]:
    """Return the sets that were clustered and ran through the loop, in order.

    Raises:
        InputError: none has.
    """
    sets = [
        name
        for name in TABLE
        if all((name, step) in found for step in ("k-means", REFINED, "loop, kept"))
    ]
    if not sets:
        raise InputError("no set has all steps, run benchmarks.loop first")
    return sets


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def main() -> None:
    rows = read(RESULTS)
    found = by_step(rows)
    for path, inner in ((PAGE, page(rows)), (README, summary(found, complete(found)))):
        path.write_text(fill(path.read_text(encoding="utf-8"), inner, "loop"), encoding="utf-8")


if __name__ == "__main__":
    main()
