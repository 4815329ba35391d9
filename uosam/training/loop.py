"""The training run: steps, schedule, averaged weights, checkpoints, log."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import cv2
import torch
from segment_anything.modeling import Sam
from torch.utils.data import DataLoader

from uosam.backends.device import choose_device
from uosam.backends.sam.tiny import build_sam_tiny
from uosam.errors import InputError
from uosam.io.atomic import write_atomic
from uosam.training.batches import Batch, Batches
from uosam.training.log import Log, cut_log
from uosam.training.options import TrainOptions
from uosam.training.step import run_step

STATE = "state.pt"
"""Name of the checkpoint in the output folder; a run goes on from it."""

_CHANGEABLE = {"workers", "device", "log_every", "save_every", "validate_every", "precision"}
# What may differ when a run goes on. Its length too, before the rate has begun to fall.

Validate = Callable[[Sam, int], None]


class Run:
    """A training run in an output folder, new or gone on with.

    Attributes:
        options: of the run.
        out: folder of checkpoint, log and weights.
        device: where it computes.
        sam: the network.
        average: the network with the moving average of its weights.
        step: steps done.
    """

    def __init__(self, out: Path, options: TrainOptions) -> None:
        """Build the network, or read it from ``out``.

        Raises:
            InputError: the checkpoint in ``out`` is of a run with other settings.
            BackendError: the device is not there.
        """
        self.options, self.out = options, out
        self.device = choose_device(options.device)
        torch.manual_seed(options.seed)
        self.sam = build_sam_tiny().to(self.device).train()
        self.average = build_sam_tiny().to(self.device).eval()
        self.average.load_state_dict(self.sam.state_dict())
        self.sam.image_encoder.to(memory_format=torch.channels_last)
        self.optimizer = _optimizer(self.sam, options)
        self.step = 0
        if (out / STATE).is_file():
            self._load(out / STATE)

    def _load(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        check_same_run(state["options"], self.options, state["step"], path)
        self.sam.load_state_dict(state["sam"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        for name in ("train.csv", "validation.csv"):
            cut_log(self.out / name, self.step)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        buffer = io.BytesIO()
        state = {
            "step": self.step,
            "options": _plain(self.options),
            "sam": self.sam.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, buffer)
        write_atomic(self.out / STATE, buffer.getvalue())

    def train(self, data: Path, validate: Validate, on_log: Callable[[str], None]) -> None:
        """Do the steps that are left.

        Args:
            data: training folder.
            validate: called with the averaged network and the step number now and then.
            on_log: called with every line of the log.

        Raises:
            InputError: the training folder is not as ``find_training_pictures`` says.
        """
        options = self.options
        batches = Batches(data, options)
        self.out.mkdir(parents=True, exist_ok=True)
        log = Log(self.out / "train.csv", on_log)
        try:
            for batch in _load_batches(batches, self.step, options, self.device):
                log.waited()
                self._one_step(batch, log)
                self.step += 1
                if self.step % options.log_every == 0:
                    rate = self.optimizer.param_groups[0]["lr"]
                    log.write(self.step, options.steps, rate)
                if self.step % options.save_every == 0 or self.step == options.steps:
                    self.save()
                if self.step % options.validate_every == 0 or self.step == options.steps:
                    validate(self.average, self.step)
                log.computed()
        except KeyboardInterrupt:
            self.save()
            raise

    def _one_step(self, batch: Batch, log: Log) -> None:
        options = self.options
        rate = learning_rate(self.step, options)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        first, second = run_step(
            self.sam,
            batch,
            iterate=options.iterate,
            seed=options.seed,
            autocast=options.precision == "bfloat16",
        )
        total = first.total if second is None else first.total + second.total
        self.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.sam.parameters(), 1.0)
        self.optimizer.step()
        _move_average(
            self.average, self.sam, min(options.average, (1 + self.step) / (10 + self.step))
        )
        log.add(batch, first, second)


def learning_rate(step: int, options: TrainOptions) -> float:
    """Return the rate of a step: linear rise, constant, cosine fall to a hundredth.

    >>> options = TrainOptions(steps=100, warmup=10, decay=0.5, learning_rate=1.0)
    >>> [round(learning_rate(step, options), 2) for step in (0, 9, 50, 75, 99)]
    [0.1, 1.0, 1.0, 0.51, 0.01]
    """
    rise = min(1.0, (step + 1) / max(1, options.warmup))
    falling = options.steps * options.decay
    done = 0.0 if not falling else (step - (options.steps - falling)) / falling
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
    return options.learning_rate * rise * (0.01 + 0.99 * fall)


def check_same_run(stored: dict[str, Any], options: TrainOptions, step: int, path: Path) -> None:
    """Refuse to go on with other settings than a run began with.

    Raises:
        InputError: which settings differ.
    """
    wanted = _plain(options)
    kept = {key: value for key, value in wanted.items() if key not in _CHANGEABLE}
    decays = step > options.steps * (1 - max(options.decay, options.final_share))
    if not decays and step <= stored["steps"] * (1 - max(stored["decay"], stored["final_share"])):
        kept.pop("steps")
    differing = [key for key, value in kept.items() if stored.get(key) != value]
    if differing:
        changes = ", ".join(f"{key} {stored.get(key)} -> {wanted[key]}" for key in differing)
        raise InputError(
            f"{path} is of a run with other settings ({changes}); use them, or an empty folder"
        )


def _plain(options: TrainOptions) -> dict[str, Any]:
    tree = asdict(options)
    tree["weights"] = dict(options.weights)
    tree["ignored"] = {source: list(ids) for source, ids in options.ignored.items()}
    return tree


def _optimizer(sam: Sam, options: TrainOptions) -> torch.optim.Optimizer:
    matrices = [p for p in sam.parameters() if p.ndim > 1]
    others = [p for p in sam.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98), foreach=True)


@torch.no_grad()
def _move_average(average: Sam, sam: Sam, decay: float) -> None:
    """Move averaged weights and batch statistics towards the current ones."""
    pairs = list(zip(average.state_dict().values(), sam.state_dict().values(), strict=True))
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
    for old, new in pairs:
        if not old.is_floating_point():
            old.copy_(new)


def _load_batches(
    batches: Batches, first: int, options: TrainOptions, device: torch.device
) -> Iterator[Batch]:
    """Prepare batches ahead of their step, in other processes if there are workers."""
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, options.steps),
        num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
        worker_init_fn=_be_single if options.workers else None,
        pin_memory=device.type == "cuda",
    )
    for batch in loader:
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(Batch)
            if isinstance(value := getattr(batch, field.name), torch.Tensor)
        }
        yield replace(batch, **moved)


def _be_single(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
