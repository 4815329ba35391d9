"""One network for several pictures at a time: what their threads ask is answered in one batch.

An accelerator is idle while it answers the few prompts of one picture, and the stages ask one
question after the other. So each picture is refined in a thread of its own, and a thread that asks
waits until every other one asks, too, or is done: the batch does not depend on which is faster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol, TypeVar, runtime_checkable

from uosam.stages.judging.judge import Judge, judge_of
from uosam.structures import Backend, Embedding, Image, Prompts, Proposals

Result = TypeVar("Result")


@runtime_checkable
class BatchingBackend(Backend, Protocol):
    """A segmenter that also takes several pictures at a time."""

    def embed_several(self, images: Sequence[Image]) -> list[Embedding]:
        """Encode (H, W, 3) RGB pictures of any sizes."""
        ...

    def decode_several(
        self,
        asked: Sequence[tuple[Embedding, Prompts]],
        *,
        multimask: bool = True,
        min_score: float = 0.0,
        min_stability: float = 0.0,
    ) -> list[Proposals]:
        """Answer what is asked about each picture as ``decode`` would."""
        ...


def work_together(
    works: Sequence[Callable[[Backend], Result]], backend: BatchingBackend
) -> list[Result]:
    """Do pieces of work with one backend at the same time, what they ask of it in batches.

    Args:
        works: functions of a backend, one a picture. An error in one is raised after all are done.
        backend: asked by all of them.

    Returns:
        Their results, in the same order.
    """
    table = _Table(backend=backend, present=len(works))

    def do(work: Callable[[Backend], Result], seat: _Seat) -> Result:
        try:
            return work(seat)
        finally:
            table.leave()

    with ThreadPoolExecutor(max(1, len(works))) as pool:
        seats = [_Seat(table=table, number=number) for number in range(len(works))]
        return list(pool.map(do, works, seats))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Request:
    """A question of one thread; ``limits`` is None for "embed", and those of "decode" else."""

    seat: int
    what: Any
    limits: dict[str, Any] | None = None
    answer: Future[Any] = field(default_factory=Future)


@dataclass(eq=False, kw_only=True)
class _Table:
    """Where threads meet; the last one to ask or to leave answers all."""

    backend: BatchingBackend
    present: int
    waiting: list[_Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, request: _Request) -> Any:
        with self.lock:
            self.waiting.append(request)
            due = self._due()
        self._answer(due)
        return request.answer.result()

    def leave(self) -> None:
        with self.lock:
            self.present -= 1
            due = self._due()
        self._answer(due)

    def _due(self) -> list[_Request]:
        if len(self.waiting) < self.present:
            return []
        due, self.waiting = self.waiting, []
        return due

    def _answer(self, due: list[_Request]) -> None:
        def kind(request: _Request) -> tuple[Any, ...]:
            return (request.limits is not None, *(request.limits or {}).values())

        for _, group in groupby(sorted(due, key=lambda r: (kind(r), r.seat)), key=kind):
            requests = list(group)
            try:
                found = self._together(requests)
            except Exception:
                # Too much for the memory, or one of them is at fault: it alone shall hear of it.
                self._one_by_one(requests)
            else:
                for request, answer in zip(requests, found, strict=True):
                    request.answer.set_result(answer)

    def _together(self, requests: list[_Request]) -> Sequence[Any]:
        what = [request.what for request in requests]
        limits = requests[0].limits
        if limits is None:
            return self.backend.embed_several(what)
        return self.backend.decode_several(what, **limits)

    def _one_by_one(self, requests: list[_Request]) -> None:
        for request in requests:
            try:
                if request.limits is None:
                    found: Any = self.backend.embed(request.what)
                else:
                    found = self.backend.decode(*request.what, **request.limits)
            except BaseException as error:
                request.answer.set_exception(error)
            else:
                request.answer.set_result(found)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Seat:
    """The backend as one thread sees it."""

    table: _Table
    number: int

    @property
    def judge(self) -> Judge | None:
        """What the backend's answers are chosen by."""
        return judge_of(self.table.backend)

    @property
    def answers_whole(self) -> bool:
        """Whether it knows ``Prompts.whole``."""
        return bool(getattr(self.table.backend, "answers_whole", False))

    def embed(self, image: Image) -> Embedding:
        answer: Embedding = self.table.ask(_Request(seat=self.number, what=image))
        return answer

    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        *,
        multimask: bool = True,
        min_score: float = 0.0,
        min_stability: float = 0.0,
    ) -> Proposals:
        limits = {
            "multimask": multimask,
            "min_score": min_score,
            "min_stability": min_stability,
        }
        request = _Request(seat=self.number, what=(embedding, prompts), limits=limits)
        answer: Proposals = self.table.ask(request)
        return answer
