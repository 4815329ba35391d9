"""The comparison of fast and plain paths sees what differs, and nothing where nothing does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from benchmarks.agreement import REFERENCE, backends, compare, table
from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.backends import BackendOptions
from uosam.config import load_config
from uosam.stages.prompts import PromptOptions, make_prompts


@pytest.fixture
def folder(tmp_path: Path, scene: Scene) -> Path:
    for kind, array in (
        ("images", scene.image),
        ("coarse", scene.coarse.astype(np.uint8)),
        ("gt", scene.target.astype(np.uint8)),
    ):
        (tmp_path / kind).mkdir()
        PIL.Image.fromarray(array).save(tmp_path / kind / "a.png")
    return tmp_path


def test_what_differs_is_told_by_path(folder: Path) -> None:
    class Silent(FakeBackend):
        def decode(self, embedding, prompts, **limits):  # type: ignore[no-untyped-def]
            return super().decode(embedding, prompts, **{**limits, "min_score": 2.0})

    paths = {REFERENCE: FakeBackend(), "same": FakeBackend(), "silent": Silent()}
    result = compare(folder, 0, paths, load_config())
    assert result["same"] == {
        "iou": 0.0,
        "boundary_iou": 0.0,
        "largest_of_a_picture": 0.0,
        "equal_pixels": 1.0,
    }
    assert result["silent"]["iou"] < -0.05  # every object keeps its coarse shape
    assert result["silent"]["largest_of_a_picture"] == pytest.approx(-result["silent"]["iou"])
    assert result["silent"]["equal_pixels"] < 1
    line = table({"toy": result}).splitlines()[2]
    assert line == "| toy | 1 / 2 | same | +0.000 | +0.000 | 0.000 | 100.0000 % |"


def test_the_package_answers_every_kind_of_prompt_as_the_fast_path_does(scene: Scene) -> None:
    paths = backends(BackendOptions(name="tiny", device="cpu"))
    found = {}
    for name in (REFERENCE, "float32"):
        embedding = paths[name].embed(scene.image)
        prompts = make_prompts(scene.coarse, embedding, PromptOptions(mask=True, boxes=True))
        found[name] = paths[name].decode(embedding, prompts)
        dropped = paths[name].decode(embedding, prompts, min_score=float(found[name].scores.max()))
        assert 1 <= len(dropped) < len(found[name])
    plain, fast = found[REFERENCE], found["float32"]
    np.testing.assert_array_equal(plain.row, fast.row)
    np.testing.assert_allclose(plain.logits, fast.logits, atol=1e-3)
    np.testing.assert_allclose(plain.scores, fast.scores, atol=1e-5)
    assert (plain.masks == fast.masks).mean() > 0.9999
