"""How a run is spread; nothing here changes a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uosam.runs.spread.shard import Shard
from uosam.structures import Sample


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a run is spread over machines.

    Attributes:
        shard: which of the samples are done here; all if None.
    """

    shard: Shard | None = None

    def take(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """Return the samples that are done here, in their order."""
        return samples if self.shard is None else self.shard.take(samples)


HERE = Spread()
"""Everything, on this machine."""
