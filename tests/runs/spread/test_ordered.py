"""Work is handed out and comes back in order, whoever has room when."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from uosam.errors import BackendError
from uosam.runs.spread.ordered import WorkerLostError, in_order


class Reluctant:
    """One at a time, and after each it has no room until it has been waited for once more."""

    ahead = 4

    def __init__(self) -> None:
        self.room = False
        self.held: list[tuple[int, str]] = []
        self.waits = 0

    def send(self, number: int, work: str) -> None:
        self.held.append((number, work.upper()))
        self.room = False

    def receive(self) -> list[tuple[int, str]]:
        self.waits += 1
        assert self.waits < 20, "waited for nothing"
        done, self.held = self.held, []
        self.room = not done
        return done


def test_whoever_has_no_room_although_all_is_done_is_waited_for() -> None:
    workers = Reluctant()
    assert list(in_order(workers, iter("abc"))) == ["A", "B", "C"]
    assert workers.waits == 7


class Backwards(Reluctant):
    """Gives back the later ones first."""

    def __init__(self, lost: bool) -> None:
        super().__init__()
        self.room, self.lost = True, lost

    def send(self, number: int, work: str) -> None:
        if self.lost and number == 2:
            raise WorkerLostError
        self.held.append((number, work.upper()))

    def receive(self) -> list[tuple[int, str]]:
        return [self.held.pop()]


def test_outcomes_are_in_order_of_the_work() -> None:
    def work() -> Iterator[str]:
        yield from "abcdef"

    assert list(in_order(Backwards(lost=False), work())) == list("ABCDEF")
    with pytest.raises(BackendError, match="a worker process died"):
        list(in_order(Backwards(lost=True), work()))
