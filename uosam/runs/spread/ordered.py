"""Hand out work to others, and give back what comes of it in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from uosam.errors import BackendError

Work = TypeVar("Work", contravariant=True)
Result = TypeVar("Result", covariant=True)


class WorkerLostError(Exception):
    """A process that was to work is no more."""


class Workers(Protocol[Work, Result]):
    """Others who work at samples, each for itself."""

    @property
    def room(self) -> bool:
        """Whether one of them can take another sample."""
        ...

    @property
    def ahead(self) -> int:
        """How many samples may be handed out after the first that is not done."""
        ...

    def send(self, number: int, work: Work) -> None:
        """Hand out a sample."""
        ...

    def receive(self) -> Sequence[tuple[int, Result]]:
        """Wait for what is done, in whatever order, or for room; the latter brings nothing."""
        ...


def in_order(workers: Workers[Work, Result], work: Iterator[Work]) -> Iterator[Result]:
    """Yield outcomes in the order of ``work``, which is read as it is handed out.

    Raises:
        BackendError: a worker died.
    """
    sent = given = 0
    done: dict[int, Result] = {}
    more = True
    try:
        while more or given < sent:
            while more and workers.room and sent - given < workers.ahead:
                one = next(work, None)
                if one is None:
                    more = False
                else:
                    workers.send(sent, one)
                    sent += 1
            if more or given < sent:  # there may be no room although all is done
                done.update(workers.receive())
            while given in done:
                yield done.pop(given)
                given += 1
    except WorkerLostError as error:
        raise BackendError(
            "a worker process died, most likely for want of memory; run again with fewer "
            "--workers, finished pictures are kept"
        ) from error
