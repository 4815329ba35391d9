"""Batches ahead of their step, prepared by other processes and brought to the device."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import fields, replace

import cv2
import torch
from torch.utils.data import DataLoader

from uosam.training.data.batches import Batch, Batches, Key
from uosam.training.schedule import Schedule


def load_batches(
    batches: Batches, first: int, schedule: Schedule, device: torch.device
) -> Iterator[Batch]:
    """Prepare batches ahead of their step, in other processes if there are workers."""
    workers = schedule.options.workers
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=_Lazy(first, schedule),
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_be_single if workers else None,
        pin_memory=device.type == "cuda",
    )
    for batch in loader:
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(Batch)
            if isinstance(value := getattr(batch, field.name), torch.Tensor)
        }
        yield replace(batch, **moved)


class _Lazy(torch.utils.data.Sampler[Key]):
    """Keys of the steps that are left, each drawn when its batch is begun."""

    def __init__(self, first: int, schedule: Schedule) -> None:
        self.first, self.schedule = first, schedule

    def __iter__(self) -> Iterator[Key]:
        step, options = self.first, self.schedule.options
        # By the clock the run itself sees when it is over, after a step and not between two.
        while options.minutes or step < options.steps:
            yield Key(step, self.schedule.last(step))
            step += 1


def _be_single(_: int) -> None:
    # The one who is told to stop is the run; without its workers it could not end its step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
