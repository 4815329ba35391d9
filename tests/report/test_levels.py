"""One click at every level: a column each, whoever answers."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from tests.conftest import Scene
from uosam.backends import BackendOptions
from uosam.report.levels import encode_click


@pytest.mark.parametrize("name", ["graphcut", "tests.fakes:load", "tiny"])
def test_there_is_a_column_for_each_of_six_levels(scene: Scene, name: str) -> None:
    data = encode_click(scene.image, scene.target, 2, BackendOptions(name=name))
    drawn = np.asarray(PIL.Image.open(io.BytesIO(data)))
    columns = (drawn.shape[1] - 8) / (96 + 8)
    assert columns == 7
    picture = drawn[30:94, 8:104]
    red = (picture[..., 0] > 240) & (picture[..., 1] < 10)
    y, x = np.nonzero(red)
    assert scene.target[int(y.mean()), int(x.mean())] == 2
    first = drawn[30:94, 112:208].astype(int)
    changed = np.abs(first - scene.image).sum(axis=2) > 30
    assert (changed & (scene.target == 2)).sum() > 0.8 * (scene.target == 2).sum()
