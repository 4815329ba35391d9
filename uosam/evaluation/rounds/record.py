"""What became of each round and picture: the figures, and the one manifest of a loop."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from uosam.errors import InputError
from uosam.io.codecs import LabelOptions, read_with
from uosam.runs.journal import read_rows
from uosam.structures import Sample
from uosam.training.student.command import Taught

LEAST_AGREEMENT = 0.5
"""A student that agrees less with the masks held back has not learnt them."""

GONE = 0.01
"""Share of all pixels from which an id must not vanish with a student."""

RECORD = "loop.jsonl"
"""The manifest of the whole: settings, a line for each round, a line for each picture."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What became of one round.

    Attributes:
        number: 0 is before any retraining.
        refiner: mean IoU of coarse and refined masks of this round, over pictures.
        changed: share of the pixels whose refined label differs from the round before.
        kept: share of the pixels that say at its end what this round's refined masks say.
        agreement: of the student with masks it was not taught (of fewer than ten pictures, with
            those it was taught); None in round 0.
        lost: ids that the round before had and this one has nowhere.
        moved: ids whose place another id took, by overlap over the set; empty if ids stayed.
    """

    number: int
    refiner: float
    changed: float
    kept: float
    agreement: float | None
    lost: tuple[int, ...]
    moved: tuple[int, ...]


def sum_up(
    number: int,
    out: Path,
    taught: Taught | None,
    counts: Mapping[tuple[int, int], int],
    failures: Mapping[str, str],
) -> Round:
    """Return what became of a round whose masks are chosen.

    Args:
        number: of the round.
        out: folder of the loop.
        taught: what retraining told; None in round 0.
        counts: pixels of (id taught, id of the student), as ``count_ids`` finds them.
        failures: reason by name; these are left out.

    Raises:
        InputError: no picture is left.
    """
    _, found = read_rows(out / f"round-{number}" / "kept")
    rows = [row for name, row in found.items() if name not in failures]
    if not rows:
        reason = next(iter(failures.values()), "nothing was found")
        raise InputError(f"no picture came through round {number}: {reason}")
    lost, moved = compare_counts(counts)
    return Round(
        number=number,
        refiner=float(np.mean([row["refiner"] for row in rows])),
        changed=float(np.mean([row["changed"] for row in rows])),
        kept=float(np.mean([row["shares"][-1] for row in rows])),
        agreement=None if taught is None else taught.agreement,
        lost=lost,
        moved=moved,
    )


def count_ids(
    number: int, out: Path, labels: LabelOptions, samples: Sequence[Sample]
) -> dict[tuple[int, int], int]:
    """Return the pixels of each (id that was taught, id that the student of a round says).

    Args:
        number: of the round, from 1.
        out: folder of the loop.
        labels: how the masks are read.
        samples: with their first masks.
    """
    counts: dict[tuple[int, int], int] = {}
    for sample in samples:
        assert sample.coarse is not None  # every sample has its first mask
        before = out / f"round-{number - 1}" / "kept" / f"{sample.name}{sample.coarse.suffix}"
        after = out / f"round-{number}" / "coarse" / f"{sample.name}.png"
        if not (before.is_file() and after.is_file()):
            continue
        old, new = (read_with(path, labels).labels for path in (before, after))
        known = (old >= 0) & (new >= 0)
        pairs, pixels = np.unique(np.stack([old[known], new[known]]), axis=1, return_counts=True)
        for a, b, n in zip(*pairs.tolist(), pixels.tolist(), strict=True):
            counts[a, b] = counts.get((a, b), 0) + n
    return counts


def refuse(agreement: float, counts: Mapping[tuple[int, int], int]) -> str:
    """Say why a student's masks are not to be used; nothing if they may be.

    Args:
        agreement: of the student with the masks held back, in [0, 1].
        counts: as ``count_ids`` finds them.

    >>> refuse(0.8, {(0, 0): 9, (1, 1): 3})
    ''
    >>> refuse(0.8, {(0, 0): 9, (1, 0): 3})
    'ids that it was taught are gone: 1'
    >>> refuse(0.43, {})
    'it agrees with masks held back to 43.0 %, less than 50 %'
    """
    if agreement < LEAST_AGREEMENT:
        return (
            f"it agrees with masks held back to {100 * agreement:.1f} %, less than "
            f"{100 * LEAST_AGREEMENT:.0f} %"
        )
    least = GONE * sum(counts.values())
    gone = [
        label
        for label in compare_counts(counts)[0]
        if sum(pixels for (old, _), pixels in counts.items() if old == label) >= least
    ]
    return f"ids that it was taught are gone: {', '.join(map(str, gone))}" if gone else ""


def compare_counts(
    counts: Mapping[tuple[int, int], int],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tell from pixels of (old id, new id) which ids are gone and which have moved.

    >>> compare_counts({(0, 0): 9, (1, 0): 3, (2, 2): 5})
    ((1,), ())
    >>> compare_counts({(0, 1): 9, (1, 0): 7, (0, 0): 1})
    ((), (0, 1))
    """
    ids = sorted({label for pair in counts for label in pair})
    place = {label: index for index, label in enumerate(ids)}
    table = np.zeros((len(ids), len(ids)))
    for (old, new), pixels in counts.items():
        table[place[old], place[new]] = pixels
    had, has = table.sum(axis=1) > 0, table.sum(axis=0) > 0
    rows, columns = linear_sum_assignment(table, maximize=True)
    moved = [i for i, j in zip(rows, columns, strict=True) if i != j and table[i, j] > 0]
    return (
        tuple(label for label, old, new in zip(ids, had, has, strict=True) if old and not new),
        tuple(ids[i] for i in moved),
    )


def write_record(
    header: Mapping[str, Any], rounds: Sequence[Round], out: Path, failures: Mapping[str, str]
) -> bytes:
    """Return the lines of the manifest: settings, a line for each round, one for each picture."""
    lines: list[Mapping[str, Any]] = [header]
    lines += [{"round": entry.number, **asdict(entry)} for entry in rounds]
    pictures: dict[str, dict[str, Any]] = {}
    chosen = ("shares", "agreements", "confidences", "refiner", "changed", "output_sha256")
    for entry in rounds:
        for name, row in read_rows(out / f"round-{entry.number}" / "kept")[1].items():
            if name not in failures:
                picture = pictures.setdefault(name, {"name": name, "by_round": []})
                picture["by_round"].append({key: row[key] for key in chosen})
    lines += [pictures[name] for name in sorted(pictures)]
    lines += [{"name": name, "error": why} for name, why in sorted(failures.items())]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
