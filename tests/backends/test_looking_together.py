"""Pictures that share batches get what they would get alone."""

from __future__ import annotations

import numpy as np
import pytest

from tests.text_fakes import Colours, Pooling
from uosam.backends.sharing import look_together
from uosam.backends.text.models import TextOptions, pictures_at_a_time
from uosam.structures import Floats, ImageText, PoolingImageText

GREEN = np.full((4, 4, 3), (50, 180, 60), np.uint8)
RED = np.full((4, 4, 3), (200, 50, 40), np.uint8)


def test_a_seat_is_what_the_model_is() -> None:
    def look(model: ImageText) -> tuple[object, ...]:
        assert isinstance(model, PoolingImageText)
        rows = model.embed_images([GREEN, RED])
        under = model.embed_regions(RED, np.ones((1, 4, 4), bool))
        texts = model.embed_texts(["grass"])
        return model.scale, model.colour, model.exclusive, rows.tolist(), under.tolist(), len(texts)

    pooling = Pooling()
    assert look_together([look, look], pooling) == [look(pooling)] * 2
    [pools] = look_together([lambda model: isinstance(model, PoolingImageText)], Colours())
    assert not pools


def test_who_is_at_fault_hears_of_it_alone() -> None:
    class Fussy(Colours):
        def embed_images(self, images: object) -> Floats:
            if any(image.shape[0] > 4 for image in images):  # type: ignore[attr-defined]
                raise RuntimeError("too large")
            return super().embed_images(images)  # type: ignore[arg-type]

    def look(side: int) -> object:
        def work(model: ImageText) -> str:
            try:
                return str(len(model.embed_images([np.zeros((side, 4, 3), np.uint8)])))
            except RuntimeError as error:
                return str(error)

        return work

    assert look_together([look(4), look(9), look(2)], Fussy()) == ["1", "too large", "1"]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("options", "expected"), [({"device": "cpu"}, 1), ({"device": "cpu", "pictures": 3}, 3)]
)
def test_a_cpu_takes_one_picture_after_the_other(options: dict, expected: int) -> None:
    assert pictures_at_a_time(TextOptions(**options)) == expected
