"""Threads that ask one network meet, so that what they ask at the same time is one batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeVar

Result = TypeVar("Result")
Kind = tuple[Any, ...]
"""What is asked for: a name, then settings, in an order that can be sorted."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _Request:
    """A question of one thread."""

    seat: int
    kind: Kind
    what: Any
    answer: Future[Any] = field(default_factory=Future)


@dataclass(eq=False, kw_only=True)
class Meeting:
    """Where threads meet; the last one to ask or to leave answers all.

    Attributes:
        together: answers several questions of one kind, in their order.
        alone: answers one; asked for each if ``together`` fails, so that only the one that is at
            fault hears of it.
        present: threads that have not left.
    """

    together: Callable[[Kind, list[Any]], Sequence[Any]]
    alone: Callable[[Kind, Any], Any]
    present: int
    _waiting: list[_Request] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, seat: int, kind: Kind, what: Any) -> Any:
        """Ask, and wait until every other thread asks, too, or is done.

        Args:
            seat: number of the thread; questions are answered in its order.
            kind: only questions of one kind share a batch.
            what: the question.
        """
        request = _Request(seat=seat, kind=kind, what=what)
        with self._lock:
            self._waiting.append(request)
            due = self._due()
        self._answer(due)
        return request.answer.result()

    def leave(self) -> None:
        """Ask no more."""
        with self._lock:
            self.present -= 1
            due = self._due()
        self._answer(due)

    def _due(self) -> list[_Request]:
        if len(self._waiting) < self.present:
            return []
        due, self._waiting = self._waiting, []
        return due

    def _answer(self, due: list[_Request]) -> None:
        for kind, group in groupby(
            sorted(due, key=lambda r: (r.kind, r.seat)), key=lambda r: r.kind
        ):
            requests = list(group)
            try:
                found = self.together(kind, [request.what for request in requests])
            except Exception:
                # Too much for the memory, or one of them is at fault.
                self._one_by_one(requests)
            else:
                for request, answer in zip(requests, found, strict=True):
                    request.answer.set_result(answer)

    def _one_by_one(self, requests: list[_Request]) -> None:
        for request in requests:
            try:
                found = self.alone(request.kind, request.what)
            except BaseException as error:
                request.answer.set_exception(error)
            else:
                request.answer.set_result(found)


def meet(
    works: Sequence[Callable[[Any], Result]],
    meeting: Meeting,
    seat: Callable[[Meeting, int], Any],
) -> list[Result]:
    """Do pieces of work at the same time, a thread each.

    Args:
        works: functions of a seat. An error in one is raised after all are done.
        meeting: with as many present.
        seat: from the meeting and the number of the work to what the work is given.

    Returns:
        Their results, in the same order.
    """

    def do(work: Callable[[Any], Result], number: int) -> Result:
        try:
            return work(seat(meeting, number))
        finally:
            meeting.leave()

    with ThreadPoolExecutor(max(1, len(works))) as pool:
        return list(pool.map(do, works, range(len(works))))
