"""A picture and maps of it, side by side."""

from __future__ import annotations

import numpy as np
import pytest

from uosam.report.columns import draw_columns


@pytest.mark.parametrize(("maps", "longest"), [(1, 1024), (2, 480), (6, 320)])
def test_columns_shrink_the_more_there_are(maps: int, longest: int) -> None:
    image = np.full((500, 2000, 3), 90, np.uint8)
    labels = np.zeros((500, 2000), np.int32)
    labels[:, :1000] = 1
    drawn = draw_columns(image, [labels] * maps, ["picture", *"abcdef"[:maps]])
    assert drawn.shape[1] == (maps + 1) * (longest + 8) + 8
    last = drawn[40:-16, -8 - longest : -8]
    assert (last[:, longest // 2 + 20 :] == 90).all()
    assert (last[:, : longest // 2 - 20] != 90).any(axis=2).mean() > 0.9


def test_a_small_picture_is_not_enlarged() -> None:
    image = np.zeros((10, 20, 3), np.uint8)
    assert draw_columns(image, [np.zeros((10, 20), np.int32)], "ab").shape == (48, 64, 3)
