"""One image-text model for several pictures at a time: crops of all of them share its batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from uosam.backends.meeting import Kind, Meeting, meet
from uosam.structures import Floats, Image, ImageText, Masks, PoolingImageText

Result = TypeVar("Result")


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
    seat = _PoolingSeat if pools else _Seat
    meeting = Meeting(together=together, alone=alone, present=len(works))
    return meet(works, meeting, lambda at, number: seat(at=at, number=number, model=model))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Seat:
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
class _PoolingSeat(_Seat):
    """A model that pools features, as one thread sees it."""

    def embed_regions(self, image: Image, masks: Masks) -> Floats:
        answer: Floats = self.at.ask(self.number, ("regions",), (image, masks))
        return answer
