"""The training run: steps, averaged weights, checkpoints, log."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling import Sam

from uosam.backends.device import choose_device
from uosam.backends.sam.tiny import build_sam_tiny
from uosam.backends.weights.checkpoints import read_content
from uosam.errors import InputError
from uosam.io.atomic import write_atomic
from uosam.training.data.batches import Batch, Batches
from uosam.training.data.loading import load_batches
from uosam.training.log import Log, cut_log
from uosam.training.options import TrainOptions
from uosam.training.schedule import Schedule, learning_rate
from uosam.training.start import fill_start, published_parameters
from uosam.training.step import run_step
from uosam.training.stopping import stop_signals
from uosam.training.weights import Average, write_weights

STATE = "state.pt"
"""Name of the checkpoint in the output folder; a run goes on from it."""

_CHANGEABLE = {
    *("workers", "device", "log_every", "save_every", "validate_every", "precision", "preload"),
}
# What may differ when a run goes on. Its length too, before the rate has begun to fall.

_SECONDS = 60  # between checkpoints at most

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
        schedule: how far it is.
    """

    def __init__(self, out: Path, options: TrainOptions) -> None:
        """Build the network, or read it from ``out``.

        Raises:
            InputError: the checkpoint in ``out`` is of a run with other settings, or what the run
                begins with is not there.
            BackendError: the device is not there.
        """
        self.options, self.out = options, out
        self.device = choose_device(options.device)
        torch.manual_seed(options.seed)
        if self.device.type == "cuda":  # crops have few sizes, and the last bits matter to nobody
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        self.sam = build_sam_tiny()
        old = (out / STATE).is_file()
        if not old:
            fill_start(self.sam, options.start)
        self.sam.to(self.device).train()
        self.sam.image_encoder.to(memory_format=torch.channels_last)
        self._average = Average(self.sam, options.average)
        self.optimizer = _optimizer(self.sam, options)
        self.step = 0
        self.schedule = Schedule(options)
        if old:
            self._load(out / STATE)

    @property
    def average(self) -> Sam:
        """The network with averaged weights, in evaluation mode."""
        return self._average.network

    def _load(self, path: Path) -> None:
        state = read_content(path)
        check_same_run(state["options"], self.options, state["step"], path)
        self.sam.load_state_dict(state["sam"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.schedule = Schedule(self.options, state["seconds"])
        for name in ("train.csv", "validation.csv"):
            cut_log(self.out / name, self.step)

    def save(self) -> None:
        """Write averaged weights and checkpoint, each whole or not at all."""
        write_weights(self.out, self.average)
        buffer = io.BytesIO()
        state = {
            "step": self.step,
            "seconds": self.schedule.seconds,
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
            InputError: the training folder is not as ``find_training_pictures`` says, or the loss
                is no number.
            KeyboardInterrupt: the run was told to stop; what it has done is saved.
        """
        options = self.options
        batches = Batches(data, options)
        if self.schedule.done(self.step) >= 1:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        log = Log(self.out / "train.csv", on_log)
        saved = time.monotonic()
        try:
            with stop_signals() as stopped:
                for batch in load_batches(batches, self.step, self.schedule, self.device):
                    log.waited()
                    self._one_step(batch, log)
                    self.step += 1
                    over = self.schedule.done(self.step) >= 1
                    if self.step % options.log_every == 0:
                        rate = self.optimizer.param_groups[0]["lr"]
                        log.write(self.step, self.schedule.words(self.step), rate)
                    if over or stopped or self._to_be_saved(saved):
                        self.save()
                        saved = time.monotonic()
                    if stopped:
                        raise KeyboardInterrupt
                    if over or self.step % options.validate_every == 0:
                        validate(self.average, self.step)
                    if over:
                        return
                    log.computed()
        except KeyboardInterrupt:
            self.save()
            raise

    def _to_be_saved(self, saved: float) -> bool:
        if self.step % self.options.save_every == 0:
            return True
        return time.monotonic() - saved > _SECONDS

    def _one_step(self, batch: Batch, log: Log) -> None:
        options = self.options
        rate = learning_rate(self.step, self.schedule.done(self.step), options)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
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
        self._average.move(self.step)
        log.add(batch, first, second)


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
    tree["all_regions"] = list(options.all_regions)
    return tree


def _optimizer(sam: Sam, options: TrainOptions) -> torch.optim.Optimizer:
    published = published_parameters(sam)
    groups = []
    for learned in (False, True):
        own = [p for p in sam.parameters() if (p in published) == learned]
        for decay, some in (
            (options.weight_decay, [p for p in own if p.ndim > 1]),
            (0.0, [p for p in own if p.ndim <= 1]),
        ):
            factor = options.encoder_rate if learned and options.start != "random" else 1.0
            groups.append({"params": some, "weight_decay": decay, "factor": factor})
    on_gpu = next(sam.parameters()).device.type == "cuda"
    return torch.optim.AdamW(
        groups,
        lr=options.learning_rate,
        betas=(0.9, 0.98),
        **({"fused": True} if on_gpu else {"foreach": True}),
    )
