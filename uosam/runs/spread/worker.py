"""A task in the process that works at it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from uosam.backends.processes import cores_each
from uosam.io.stores.mounts import take_over
from uosam.io.stores.store import Store
from uosam.runs.rows import Row
from uosam.runs.task import Computed, Inputs, Outcome, Task, compute_one, read_one, write_one
from uosam.structures import Sample

Work = tuple[Sample, Row | None]
"""A sample, and what an earlier run has noted of it."""


class Worker:
    """A task in the process that works at it, with its model once it is needed."""

    def __init__(self, task: Task, stores: Mapping[str, Store] | None = None) -> None:
        """Take over a task and, in a process of its own, the stores of the one that started it."""
        self.task = task
        take_over(dict(stores or {}))

    @cached_property
    def model(self) -> Any:
        """The loaded model; a run that has nothing left to do loads none."""
        model = self.task.load()
        torch = sys.modules.get("torch")
        if torch is not None and self.task.workers > 1:
            torch.set_num_threads(cores_each(self.task.workers))
        return model

    def read(self, sample: Sample, done: Row | None) -> Inputs | Outcome:
        """Read one sample."""
        return read_one(self.task, sample, done)

    def compute(
        self, tasks: Sequence[Work], reads: Sequence[Inputs | Outcome]
    ) -> list[Computed | Outcome]:
        """Compute several samples; only a model that does not load is an error."""
        if not any(isinstance(read, Inputs) for read in reads):
            return [read for read in reads if isinstance(read, Outcome)]
        works = [
            partial(compute_one, self.task, sample, done, read)
            for (sample, done), read in zip(tasks, reads, strict=True)
        ]
        return self.task.together(self.model, works)

    def write(self, sample: Sample, done: Row | None, computed: Computed | Outcome) -> Outcome:
        """Write one sample."""
        return write_one(self.task, sample, done, computed)

    def do(self, sample: Sample, done: Row | None) -> Outcome:
        """Read, compute and write one sample."""
        (computed,) = self.compute([(sample, done)], [self.read(sample, done)])
        return self.write(sample, done, computed)
