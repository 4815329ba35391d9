"""Which part of a run one machine does: ``--shard 3/16``."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from uosam.errors import ConfigError
from uosam.io.listings.names import choose
from uosam.structures import Sample

NAMED = re.compile(r"manifest\.shard-(\d+)-of-(\d+)(\.partial)?\.jsonl")
"""Manifests of shards, finished or not."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of several parts of a run, which share no sample and together have all.

    The name of a sample alone decides where it belongs, so that pictures that are added or removed
    while shards are under way move no other picture.

    Attributes:
        number: from 1 to ``count``.
        count: how many parts there are.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: ``number`` is not between 1 and ``count``.
        """
        if not 1 <= self.number <= self.count:
            raise ConfigError(
                f"a shard must be I/N with I from 1 to N, got {self.number}/{self.count}; "
                "the first of 16 is --shard 1/16"
            )

    @property
    def suffix(self) -> str:
        """What the names of its files have before their ending.

        >>> Shard(number=3, count=16).suffix
        '.shard-03-of-16'
        """
        return f".shard-{self.number:0{len(str(self.count))}d}-of-{self.count}"

    def takes(self, name: str) -> bool:
        """Tell whether the sample of a name belongs here.

        >>> [n for n in range(1, 4) if Shard(number=n, count=3).takes("n01/a")]
        [3]
        """
        digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1

    def take(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """Return the samples that belong here, in their order."""
        taken = (index for index, sample in enumerate(samples) if self.takes(sample.name))
        return choose(samples, array("Q", taken))


def parse_shard(text: str | None) -> Shard | None:
    """Read ``I/N``; None for all samples.

    Raises:
        ConfigError: another form, or I is not between 1 and N.

    >>> parse_shard("3/16")
    Shard(number=3, count=16)
    """
    if text is None:
        return None
    number, slash, count = text.partition("/")
    if not slash or not (number.isascii() and number.isdigit() and count.isascii()):
        raise ConfigError(f"a shard must be I/N such as 3/16, got {text!r}")
    if not count.isdigit() or max(len(number), len(count)) > 9:
        raise ConfigError(f"a shard must be I/N such as 3/16, got {text!r}")
    return Shard(number=int(number), count=int(count))
