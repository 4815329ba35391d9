"""How a run is spread; nothing here changes a result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from uosam.errors import ConfigError
from uosam.runs.spread.shard import Shard
from uosam.structures import Sample


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a run is spread over machines.

    Attributes:
        shard: which of the samples are done here; all if None.
        engine: "local" works in processes of this machine, "ray" on a Ray cluster.
        actors: of Ray, each with its own model; as many as the cluster has room for if None.
        cpus: of an actor; above 0.
        gpus: of an actor; 0.25 lets four of them share one.
    """

    shard: Shard | None = None
    engine: Literal["local", "ray"] = "local"
    actors: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: an unknown engine, a share below 0, GPUs without Ray, or no actor.
        """
        if self.engine not in ("local", "ray"):
            raise ConfigError(f"--engine must be local or ray, got {self.engine!r}")
        if not (0 <= self.gpus < math.inf and 0 < self.cpus < math.inf):
            raise ConfigError(
                f"an actor needs CPUs above 0 and GPUs of 0 or more, got {self.cpus:g} and "
                f"{self.gpus:g}"
            )
        if self.gpus and self.engine == "local":
            raise ConfigError("--gpus is for --engine ray; give both, or --device for this machine")
        if self.actors is not None and self.actors < 1:
            raise ConfigError(f"--workers must be at least 1, got {self.actors}")

    def take(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """Return the samples that are done here, in their order."""
        return samples if self.shard is None else self.shard.take(samples)


HERE = Spread()
"""Everything, on this machine."""
