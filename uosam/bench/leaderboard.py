"""Methods x sets x seeds, every cell once: the run behind ``uosam bench``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from uosam.bench.cell import CellJob, run_cell
from uosam.bench.digest import cell_key, fingerprint, inputs_digest
from uosam.bench.plan import BenchMethod, Plan, check_settings
from uosam.bench.published import published_rows, read_tables
from uosam.bench.scores import BenchRow, Compared, Entry, compare, mean_row, score_row
from uosam.bench.set import BenchSet
from uosam.bench.stored_cell import Cell
from uosam.errors import InputError
from uosam.io.outputs import check_folders
from uosam.io.pairs import find_pairs, find_pictures
from uosam.runs.coarse import label_folder
from uosam.runs.coarse_models import CoarseOptions
from uosam.structures import Sample


@dataclass(frozen=True, eq=False, kw_only=True)
class Leaderboard:
    """The result of a benchmark.

    Attributes:
        rows: measured ones by set, then averages over sets, then published ones.
        entries: every cell with both summaries, or None where the method failed.
        samples: pictures of each set, by name of the set and seed.
    """

    rows: tuple[BenchRow, ...]
    entries: tuple[tuple[Entry, Compared | None], ...]
    samples: dict[tuple[str, int | None], list[Sample]]

    @property
    def failed(self) -> int:
        """Number of cells without numbers."""
        return sum(compared is None for _, compared in self.entries)


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """A cell that is done, for whoever watches.

    Attributes:
        number: from 1.
        total: number of cells.
        entry: what was done.
    """

    number: int
    total: int
    entry: Entry


def run_bench(
    plan: Plan,
    out: Path,
    *,
    on_step: Callable[[Step], object] = lambda step: None,
    isolated: bool = True,
) -> Leaderboard:
    """Fill every cell of a plan that is not filled yet, and score them all.

    Args:
        plan: what to compare.
        out: folder; cells go to ``cells``, coarse masks that are made to ``coarse``.
        on_step: called after each cell.
        isolated: whether each cell has a process of its own, as ``run_cell`` explains.

    Raises:
        ConfigError: a method or setting is not there, or ``out`` lies in a folder of a set.
        InputError: a set is incomplete or a file unusable.
        BackendError: a weights file is missing.
    """
    given = [(data.images, data.gt, data.coarse, data.depth) for data in plan.sets]
    check_folders({"output": out}, [folder for some in given for folder in some if folder])
    for method in plan.methods:
        check_settings(method)
    published = published_rows(plan.published, read_tables()) if plan.published else []
    jobs = list(_jobs(plan, out))
    samples: dict[tuple[str, int | None], list[Sample]] = {}
    entries: list[tuple[Entry, Compared | None]] = []
    coarse: Cell | None = None
    for number, (job, seed) in enumerate(jobs, start=1):
        samples[job.data.name, seed] = list(job.samples)
        cell = run_cell(job, isolated=isolated)
        if job.method.name == "coarse":
            if cell.error:
                raise InputError(f"sets.{job.data.name}: {cell.error}")
            coarse = cell
        assert coarse is not None  # it is the first method of every set
        entry = Entry(
            data=job.data,
            method=job.method.name,
            seed=seed if job.seed is None else job.seed,
            cell=cell,
            coarse=coarse,
        )
        entries.append((entry, None if cell.error else compare(entry)))
        on_step(Step(number=number, total=len(jobs), entry=entry))
    rows = [score_row(entry, compared, plan.resamples) for entry, compared in entries]
    if len(plan.sets) > 1:
        for method in plan.methods:
            own = [pair for pair in entries if pair[0].method == method.name]
            rows.append(mean_row(method.name, own, plan.resamples))
    return Leaderboard(rows=(*rows, *published), entries=tuple(entries), samples=samples)


def _jobs(plan: Plan, out: Path) -> Iterator[tuple[CellJob, int | None]]:
    """Yield the cells set by set, the coarse masks first, each with the seed of its masks."""
    for declared in plan.sets:
        seeds = plan.seeds if declared.clusters is not None else (None,)
        for seed in seeds:
            data = _with_coarse(declared, seed, out)
            samples = find_samples(data)[: plan.limit]
            inputs = inputs_digest(samples, data.depth)
            for method in plan.methods:
                for own in _seeds(method, plan, seed):
                    key = cell_key(method, data, inputs, own)
                    path = out / "cells" / f"{fingerprint(key)}.json"
                    job = CellJob(
                        method=method, data=data, samples=samples, seed=own, key=key, path=path
                    )
                    yield job, seed


def _seeds(method: BenchMethod, plan: Plan, seed: int | None) -> tuple[int | None, ...]:
    """Return the seeds a method runs with: its set's one, or all, or none if it draws nothing."""
    if not method.takes("seed"):
        return (None,)
    return plan.seeds if seed is None else (seed,)


def _with_coarse(data: BenchSet, seed: int | None, out: Path) -> BenchSet:
    """Return the set with a folder of coarse masks, made by k-means if it has none.

    Raises:
        InputError: a picture cannot be labelled.
    """
    if data.coarse is not None:
        return data
    settings = {**(data.clusters or {}), "seed": seed}
    name = hashlib.sha256(json.dumps([settings, str(data.images)]).encode()).hexdigest()[:8]
    folder = out / "coarse" / f"{data.name}-{seed}-{name}"
    pictures, unreadable = find_pictures(data.images)
    model = str(settings.pop("model", "kmeans"))
    options = CoarseOptions(model=model, settings=settings, overwrite=True)
    run = label_folder(pictures, folder, options, unreadable=unreadable)
    for picture, reason in run.failures.items():
        raise InputError(f"sets.{data.name}: no coarse mask of {picture}: {reason}")
    return replace(data, coarse=folder)


def find_samples(data: BenchSet) -> list[Sample]:
    """Join picture, coarse mask and ground truth; the ground truth says which pictures count.

    Raises:
        InputError: a folder is missing or empty, or a ground truth has no picture or coarse mask.
    """
    assert data.coarse is not None
    truths = find_pairs(data.images, data.gt)
    masks = {sample.image: sample.coarse for sample in find_pairs(data.images, data.coarse).samples}
    lacking = [str(path) for path in truths.unpaired_masks]
    lacking += [str(sample.coarse) for sample in truths.samples if sample.image not in masks]
    if lacking:
        raise InputError(
            f"sets.{data.name}: every ground truth needs a picture and a coarse mask, "
            f"{lacking[0]} has not" + (f" and {len(lacking) - 1} more" if lacking[1:] else "")
        )
    if not truths.samples:
        raise InputError(f"sets.{data.name}: expected label maps in {data.gt}, found none")
    return [
        Sample(name=s.name, image=s.image, coarse=masks[s.image], target=s.coarse)
        for s in truths.samples
    ]
