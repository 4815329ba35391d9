"""Levels of the embedded SAM are its three masks by area; other SAMs have none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.small_sam import build_small_sam, make_prompts, picture
from uosam.backends.sam.backend import SamBackend
from uosam.errors import InputError


@pytest.fixture(scope="module")
def tiny():
    return SamBackend(sam=build_small_sam(), device=torch.device("cpu"), name="tiny")


@pytest.fixture(scope="module")
def embedding(tiny):
    return tiny.embed(picture((60, 90)))


def areas(found):
    return (found.logits > 0).sum(axis=(1, 2))


@pytest.mark.parametrize("kind", [{}, {"boxes": True}, {"logits": True}])
def test_levels_are_the_three_masks_by_falling_area(tiny, embedding, kind):
    prompts = make_prompts(2, **kind)
    plain = tiny.decode(embedding, prompts)
    levels = np.tile(np.array([1, 2, 3], np.int8), (2, 1))
    found = tiny.decode(embedding, replace(prompts, levels=levels))
    assert found.level.tolist() == [1, 2, 3] * 2
    for row in range(2):
        mine, theirs = found.row == row, plain.row == row
        order = np.argsort(-areas(plain)[theirs], kind="stable")
        assert np.array_equal(found.logits[mine], plain.logits[theirs][order])
        assert np.array_equal(found.scores[mine], plain.scores[theirs][order])
        assert np.array_equal(found.masks[mine], plain.masks[theirs][order])
    assert not plain.level.any()


def test_rows_get_the_levels_they_ask_for(tiny, embedding):
    prompts = make_prompts(2)
    every = tiny.decode(
        embedding, replace(prompts, levels=np.tile(np.array([1, 2, 3], np.int8), (2, 1)))
    )
    some = tiny.decode(
        embedding,
        replace(prompts, levels=np.array([[2, 0], [1, 3]], np.int8)),
        multimask=False,
    )
    assert some.level.tolist() == [2, 1, 3]
    assert some.row.tolist() == [0, 1, 1]
    assert np.array_equal(some.logits, every.logits[[1, 3, 5]])


def test_several_pictures_with_and_without_levels(tiny, embedding):
    other = tiny.embed(picture((64, 64), seed=2))
    asked = make_prompts(2, logits=True)
    leveled = replace(asked, levels=np.array([[1, 3], [2, 0]], np.int8))
    together = tiny.decode_several([(embedding, asked), (other, leveled)])
    for found, alone in zip(
        together, [tiny.decode(embedding, asked), tiny.decode(other, leveled)], strict=True
    ):
        assert found.level.tolist() == alone.level.tolist()
        assert np.allclose(found.logits, alone.logits, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "level", "message"),
    [
        ("tiny", 4, "tiny has levels 1 to 3, got 4"),
        ("vit_b", 1, "vit_b has no levels of granularity; .*graphcut, tiny"),
        ("SAM", 1, "SAM has no levels"),
    ],
)
def test_levels_that_a_model_lacks_are_refused(tiny, embedding, name, level, message):
    backend = replace(tiny, name=name)
    asked = replace(make_prompts(1), levels=np.array([[level]], np.int8))
    with pytest.raises(InputError, match=message):
        backend.decode(embedding, asked)
