"""The teaching itself: steps, the averaged teacher, checks, and what a stopped run goes on from."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from uosam.backends.device import choose_device
from uosam.backends.imagenet.weights import find_weights
from uosam.backends.student.files import pack, read_student
from uosam.backends.student.header import Facts
from uosam.backends.student.network import (
    WIDTH,
    Encoder,
    Levels,
    Student,
    blank_encoder,
    pretrained_encoder,
)
from uosam.backends.weights.checkpoints import read_content
from uosam.errors import InputError
from uosam.io.atomic import write_atomic
from uosam.training.log import append_row, cut_log
from uosam.training.stopping import stop_signals
from uosam.training.student.lessons import Lesson, Lessons, class_shares, hold_back
from uosam.training.student.objective import (
    agreement,
    class_weights,
    consistency_loss,
    lesson_loss,
    update_confusion,
)
from uosam.training.student.options import StudentOptions, check_same_teaching
from uosam.training.student.views import Batch, Views, class_means

STATE, WEIGHTS, LOG = "state.pt", "student.safetensors", "retrain.csv"
"""Names in the output folder."""


class Teaching:
    """A run in an output folder, new or gone on with.

    Attributes:
        step: steps done.
        steps: of the whole run, if it is not stopped before.
        best: the best agreement so far, in [0, 1]; -1 before the first check.
        student: what learns.
        teacher: its moving average, which is what is kept.
        over: whether the last step is done, or the agreement has not grown for long.
    """

    def __init__(self, lessons: Lessons, out: Path, options: StudentOptions, digest: str) -> None:
        """Build the student, or read it from ``out``.

        Args:
            lessons: pictures and masks.
            out: folder of weights, state and log.
            options: of the run.
            digest: of everything that is read, so that a run goes on with the same files only.

        Raises:
            InputError: the state in ``out`` is of another run.
            BackendError: weights to begin with or the device are missing.
        """
        self.options, self.out, self.digest = options, out, digest
        self.device = choose_device(options.device)
        taught, asked = hold_back(len(lessons.lessons), options.held_back, options.seed)
        self.held = len(set(asked) - set(taught))
        self.facts = Facts(
            classes=max(2, lessons.classes),
            side=options.side,
            background=lessons.spec.background,
            codec=lessons.spec.codec,
        )
        self._asked = [lessons.lessons[i] for i in asked]
        own: list[Lesson] = [lessons.lessons[i] for i in taught]
        self.steps = options.steps(len(own))
        torch.manual_seed(options.seed)
        self.student = Student(_first_encoder(options.start), self.facts.classes).to(self.device)
        self.student.train()
        self.student.encoder.requires_grad_(options.finetune)
        self.teacher = copy.deepcopy(self.student).eval().requires_grad_(False)
        self._best = self.teacher.state_dict()  # of a check, once there was one
        self._optimizer = _optimizer(self.student, options)
        self._confusion = torch.eye(self.facts.classes, device=self.device)
        shares = torch.from_numpy(class_shares(own, self.facts.classes)).float()
        self._balance = class_weights(shares, options.balance).to(self.device)
        self._views = Views(own, self.student.encoder, options)
        self.step, self.best, self._since = 0, -1.0, 0
        if (out / STATE).is_file():
            self._load(out / STATE)
        else:
            self._begin()

    def _begin(self) -> None:
        """Begin as the nearest class mean: ids then have their places before the first step.

        This beginning is no candidate of the checks. The masks of clusters are linear in the same
        columns, so that it agrees with them best, whatever they are worth.
        """
        means = class_means(self._views, self.facts.classes)
        for network in (self.student, self.teacher):
            network.decoder.begin([mean.to(self.device) for mean in means])

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.step >= self.steps or self._since >= self.options.patience

    def train(self, on_line: Callable[[str], None]) -> Path:
        """Do the steps that are left; return the file of weights.

        Raises:
            InputError: the loss is no number.
            KeyboardInterrupt: the run was told to stop; what it has done is saved.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        total, done = 0.0, 0
        with stop_signals() as stopped:
            while not self.over:
                total, done = total + self._one_step(), done + 1
                self.step += 1
                if self.step % self.options.check_every == 0 or self.step == self.steps:
                    self._check(total / done, on_line)
                    total, done = 0.0, 0
                    self._save()
                if stopped:
                    raise KeyboardInterrupt
        write_atomic(self.out / WEIGHTS, self.packed())
        return self.out / WEIGHTS

    def packed(self) -> bytes:
        """Return the file of the teacher that agreed best."""
        kept = copy.deepcopy(self.teacher)
        kept.load_state_dict(self._best)
        return pack(kept, self.facts)

    def _one_step(self) -> float:
        options = self.options
        batch = self._views.draw(self.step)
        rate = options.learning_rate * self._slope()
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=options.precision == "bfloat16"
        ):
            with torch.no_grad():
                said = self._answer(self.teacher, batch.plain).float().softmax(dim=1)
            logits = self._answer(self.student, batch.strong, self._kept(len(batch.labels)))
        self._confusion = update_confusion(self._confusion, batch.labels, said)
        loss = self._loss(logits, said, batch)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self._optimizer.step()
        self._move()
        return float(loss.detach())

    def _answer(self, network: Student, seen: Levels, kept: Levels | None = None) -> torch.Tensor:
        if self.options.finetune:
            logits: torch.Tensor = network(seen[0], kept)
        else:
            logits = network.decoder(seen, kept)
        return logits

    def _loss(self, logits: torch.Tensor, said: torch.Tensor, batch: Batch) -> torch.Tensor:
        options = self.options
        loss = lesson_loss(
            logits,
            batch.labels,
            batch.weights,
            balance=self._balance,
            confusion=self._confusion,
            smoothing=options.smoothing,
        )
        if options.consistency:
            also = consistency_loss(logits, said, batch.inside, options.sure)
            loss = loss + options.consistency * also
        return loss

    def _slope(self) -> float:
        """Rise over 20 steps, then a cosine to a twentieth."""
        rise = min(1.0, (self.step + 1) / 20)
        return rise * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * self.step / self.steps)))

    def _kept(self, pictures: int) -> Levels | None:
        """Draw which channels of each level are seen, by the number of the step."""
        share = self.options.drop
        if not share:
            return None
        generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + self.step)
        drawn = torch.rand((4, pictures, WIDTH, 1, 1), generator=generator)
        factors = (drawn >= share).float() / (1 - share)
        return list(factors.to(self.device))

    @torch.no_grad()
    def _move(self) -> None:
        decay = min(self.options.average, (1 + self.step) / (10 + self.step))
        own, current = self.teacher.state_dict(), self.student.state_dict()
        names = [n for n, v in own.items() if v.is_floating_point()]
        if not self.options.finetune:
            names = [n for n in names if n.startswith("decoder.")]
        torch._foreach_lerp_([own[n] for n in names], [current[n] for n in names], 1 - decay)

    def _check(self, loss: float, on_line: Callable[[str], None]) -> None:
        """Ask for the pictures that were held back, and keep the teacher if it agrees better."""
        if not math.isfinite(loss):
            raise InputError(
                f"the loss at step {self.step} is no number; lower student.learning_rate, or use "
                "student.precision=float32"
            )
        agreed = self._agreement()
        better = agreed > self.best or self.best < 0
        if better or agreed == self.best:  # of equals the later: it has learnt for longer
            self.best = agreed
            self._best = {k: v.clone() for k, v in self.teacher.state_dict().items()}
        self._since = 0 if better else self._since + 1
        append_row(self.out / LOG, {"step": self.step, "loss": loss, "agreement": agreed})
        on_line(f"{self.step}/{self.steps}  loss {loss:.3f}  agreement {agreed:.3f}")

    @torch.no_grad()
    def _agreement(self) -> float:
        classes = self.facts.classes
        counts = torch.zeros(classes * classes)
        for lesson in self._asked:
            pixels = torch.from_numpy(lesson.image.transpose(2, 0, 1)[None].copy())
            said = self.teacher(pixels.to(self.device))[0].argmax(dim=0).cpu()
            labels = torch.from_numpy(lesson.labels).long()
            known = labels >= 0
            pairs = labels[known] * classes + said[known]
            weights = torch.from_numpy(lesson.weights)[known]
            counts += torch.bincount(pairs, weights, minlength=classes * classes)
        return agreement(counts.view(classes, classes))

    def _save(self) -> None:
        buffer = io.BytesIO()
        state = {
            "step": self.step,
            "best": self.best,
            "since": self._since,
            "options": asdict(self.options),
            "digest": self.digest,
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "kept": self._best,
            "optimizer": self._optimizer.state_dict(),
            "confusion": self._confusion,
        }
        torch.save(state, buffer)
        write_atomic(self.out / STATE, buffer.getvalue())

    def _load(self, path: Path) -> None:
        state = read_content(path)
        check_same_teaching(state, self.options, self.digest, path)
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best, self._confusion = state["kept"], state["confusion"].to(self.device)
        self.step, self.best, self._since = state["step"], state["best"], state["since"]
        cut_log(self.out / LOG, self.step)


def _first_encoder(start: str) -> Encoder:
    if start == "random":
        return blank_encoder()
    if start.endswith(".safetensors"):
        return read_student(Path(start))[0].encoder
    return pretrained_encoder(find_weights() if start == "imagenet" else Path(start))


def _optimizer(student: Student, options: StudentOptions) -> torch.optim.Optimizer:
    groups = []
    parts: list[tuple[torch.nn.Module, float]] = [(student.decoder, 1.0)]
    if options.finetune:
        parts.append((student.encoder, options.encoder_rate))
    for part, factor in parts:
        for decays in (True, False):
            some = [p for p in part.parameters() if (p.ndim > 1) == decays]
            decay = options.weight_decay if decays else 0.0
            groups.append({"params": some, "weight_decay": decay, "factor": factor})
    return torch.optim.AdamW(groups, lr=options.learning_rate)
