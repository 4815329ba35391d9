"""One network for several pictures at a time: what their threads ask is answered in one batch.

An accelerator is idle while it answers the few prompts of one picture, and the stages ask one
question after the other. So each picture is refined in a thread of its own, and a thread that asks
waits until every other one asks, too, or is done: the batch does not depend on which is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from uosam.backends.meeting import Kind, Meeting, meet
from uosam.stages.judging.judge import Judge, judge_of
from uosam.stages.proposals import limits_of
from uosam.structures import (
    Backend,
    Embedding,
    Floats,
    Image,
    ImageText,
    Masks,
    PoolingImageText,
    Prompts,
    Proposals,
)

Result = TypeVar("Result")
_LIMITS = ("multimask", "min_score", "min_stability")


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

    def together(kind: Kind, what: list[Any]) -> Sequence[Any]:
        name, *limits = kind
        if name == "embed":
            return backend.embed_several(what)
        return backend.decode_several(what, **dict(zip(_LIMITS, limits, strict=True)))

    def alone(kind: Kind, what: Any) -> Any:
        name, *limits = kind
        if name == "embed":
            return backend.embed(what)
        return backend.decode(*what, **dict(zip(_LIMITS, limits, strict=True)))

    meeting = Meeting(together=together, alone=alone, present=len(works))
    return meet(works, meeting, lambda at, number: _Seat(at=at, number=number, backend=backend))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Seat:
    """The backend as one thread sees it."""

    at: Meeting
    number: int
    backend: BatchingBackend

    @property
    def judge(self) -> Judge | None:
        """What the backend's answers are chosen by."""
        return judge_of(self.backend)

    @property
    def point_limits(self) -> tuple[float, float]:
        """Least score and stability of its proposals."""
        return limits_of(self.backend)

    @property
    def answers_whole(self) -> bool:
        """Whether it knows ``Prompts.whole``."""
        return bool(getattr(self.backend, "answers_whole", False))

    def embed(self, image: Image) -> Embedding:
        answer: Embedding = self.at.ask(self.number, ("embed",), image)
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
        kind = ("decode", multimask, min_score, min_stability)
        answer: Proposals = self.at.ask(self.number, kind, (embedding, prompts))
        return answer


def look_together(works: Sequence[Callable[[ImageText], Result]], model: ImageText) -> list[Result]:
    """Do pieces of work with one model at the same time, what they show it in shared batches.

    Args:
        works: functions of a model, one a picture. An error in one is raised after all are done.
        model: asked by all of them.

    Returns:
        Their results, in the same order.
    """

    def together(kind: Kind, what: list[Any]) -> Sequence[Any]:
        if kind != ("images",):
            return [alone(kind, one) for one in what]
        found = model.embed_images([image for images in what for image in images])
        return np.split(found, np.cumsum([len(images) for images in what])[:-1])

    def alone(kind: Kind, what: Any) -> Any:
        if kind == ("images",):
            return model.embed_images(what)
        assert isinstance(model, PoolingImageText)
        return model.embed_regions(*what)

    pools = isinstance(model, PoolingImageText)
    seat = _PoolingLooker if pools else _Looker
    meeting = Meeting(together=together, alone=alone, present=len(works))
    return meet(works, meeting, lambda at, number: seat(at=at, number=number, model=model))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Looker:
    """The model as one thread sees it."""

    at: Meeting
    number: int
    model: ImageText

    @property
    def scale(self) -> float:
        """What similarities are multiplied with."""
        return self.model.scale

    @property
    def colour(self) -> tuple[int, int, int]:
        """RGB that means nothing."""
        return self.model.colour

    @property
    def exclusive(self) -> bool:
        """Whether its words are a closed list."""
        return self.model.exclusive

    def embed_images(self, images: Sequence[Image]) -> Floats:
        answer: Floats = self.at.ask(self.number, ("images",), images)
        return answer

    def embed_texts(self, words: Sequence[str]) -> Floats:
        return self.model.embed_texts(words)


@dataclass(frozen=True, eq=False, kw_only=True)
class _PoolingLooker(_Looker):
    """A model that pools features, as one thread sees it."""

    def embed_regions(self, image: Image, masks: Masks) -> Floats:
        answer: Floats = self.at.ask(self.number, ("regions",), (image, masks))
        return answer
