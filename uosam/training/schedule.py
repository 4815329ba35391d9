"""How far a run is, by steps or by the clock, and what follows from it."""

from __future__ import annotations

import math
import time

from uosam.training.options import TrainOptions


class Schedule:
    """Progress of a run.

    Attributes:
        options: of the run.
        before: seconds that earlier parts of the run took.
    """

    def __init__(self, options: TrainOptions, before: float = 0.0) -> None:
        self.options, self.before = options, before
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken, those of its earlier parts included."""
        return self.before + time.monotonic() - self._began

    def done(self, step: int) -> float:
        """Return the share of the run before a step, from 0; 1 or more when it is over."""
        if self.options.minutes:
            return self.seconds / (60 * self.options.minutes)
        return step / self.options.steps

    def last(self, step: int) -> bool:
        """Return whether a step belongs to the last part of the run, with its own crops."""
        if self.options.minutes:
            return self.done(step) >= 1 - self.options.final_share
        return step >= round(self.options.steps * (1 - self.options.final_share))

    def words(self, step: int) -> str:
        """Return the progress for a line of the log."""
        if self.options.minutes:
            return f"{step} at {self.seconds / 60:.2f}/{self.options.minutes:g} min"
        return f"{step}/{self.options.steps}"


def learning_rate(step: int, done: float, options: TrainOptions) -> float:
    """Return the rate of a step: linear rise, constant, cosine fall to a hundredth.

    Args:
        step: number of the step, for the rise.
        done: share of the run before it, for the fall.
        options: of the run.

    >>> options = TrainOptions(steps=100, warmup=10, decay=0.5, learning_rate=1.0)
    >>> [round(learning_rate(step, step / 100, options), 2) for step in (0, 9, 50, 75, 99)]
    [0.1, 1.0, 1.0, 0.51, 0.01]
    """
    rise = min(1.0, (step + 1) / max(1, options.warmup))
    fallen = (done - (1 - options.decay)) / options.decay if options.decay else 0.0
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, fallen))))
    return options.learning_rate * rise * (0.01 + 0.99 * fall)
