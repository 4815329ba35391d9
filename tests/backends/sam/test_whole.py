"""Asking for the whole object behind a mask prompt: who answers, how, and who refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.small_sam import build_small_sam, make_prompts, picture, seed_weights
from uosam.backends import BackendOptions, load_backend
from uosam.backends.checks import check_whole
from uosam.backends.sam.backend import SamBackend
from uosam.backends.sam.tiny import build_sam_tiny
from uosam.errors import BackendError, InputError
from uosam.stages.redraw import take

HW = (60, 90)


@pytest.fixture(scope="module")
def backend():
    torch.set_num_threads(1)
    return SamBackend(sam=seed_weights(build_sam_tiny()).eval(), device=torch.device("cpu"))


def asking(rows, whole):
    prompts = make_prompts(rows, points=1, boxes=True, logits=True)
    return replace(prompts, whole=np.array(whole))


def test_whole_changes_the_rows_that_ask_for_it_and_no_other(backend):
    embedding = backend.embed(picture(HW))
    plain = backend.decode(embedding, replace(asking(3, [False] * 3), whole=None))
    none = backend.decode(embedding, asking(3, [False] * 3))
    some = backend.decode(embedding, asking(3, [False, True, False]))
    np.testing.assert_array_equal(none.logits, plain.logits)
    for row, changed in enumerate((False, True, False)):
        difference = np.abs(some.logits - plain.logits)[plain.row == row].max()
        assert bool(difference > 1e-3) is changed


def test_rows_of_several_pictures_are_answered_alike(backend):
    asked = [(backend.embed(picture(HW, seed)), asking(2, [bool(seed), True])) for seed in range(2)]
    together = backend.decode_several(asked)
    for (embedding, prompts), answers in zip(asked, together, strict=True):
        alone = backend.decode(embedding, prompts)
        np.testing.assert_allclose(answers.logits, alone.logits, atol=2e-3)
        np.testing.assert_allclose(answers.scores, alone.scores, atol=1e-5)


def test_the_published_steps_give_the_same_masks(backend):
    prompts = asking(2, [True, False])
    embedding = backend.embed(picture(HW))
    sam = backend.sam
    with torch.inference_mode():
        square = backend._input.square(picture(HW))
        scale = torch.tensor([512 / 90, 341 / 60])  # of a picture whose long side fills the square
        xy = torch.from_numpy(prompts.points) * scale
        boxes = torch.from_numpy(prompts.boxes) * scale.repeat(2)
        sparse, dense = sam.prompt_encoder(
            points=(xy, torch.from_numpy(prompts.point_labels).float()),
            boxes=boxes,
            masks=torch.from_numpy(prompts.logits)[:, None],
        )
        dense[0] += sam.prompt_encoder.whole.weight[0][:, None, None]
        expected, scores = sam.mask_decoder(
            image_embeddings=sam.image_encoder(square),
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
    answers = backend.decode(embedding, prompts)
    np.testing.assert_allclose(answers.logits, expected.flatten(0, 1).numpy(), atol=5e-3)
    np.testing.assert_allclose(answers.scores, scores.flatten().clamp(0, 1).numpy(), atol=1e-4)


def test_the_features_of_an_embedding_are_those_the_decoder_attends_to(backend):
    assert backend.embed(picture(HW)).features.shape == (128, 64, 64)


def test_who_does_not_know_the_question_refuses_it():
    other = SamBackend(sam=build_small_sam(), device=torch.device("cpu"), name="vit_b")
    assert not other.answers_whole
    with pytest.raises(BackendError, match=r"vit_b cannot be asked for the whole object"):
        other.decode(other.embed(picture(HW)), asking(1, [True]))
    other.decode(other.embed(picture(HW)), asking(1, [False]))
    graphcut = load_backend(BackendOptions(name="graphcut"))
    embedding = graphcut.embed(picture(HW))
    logits = np.zeros((1, *embedding.logits_hw), np.float32)
    with pytest.raises(BackendError, match=r"graphcut cannot be asked for the whole object"):
        graphcut.decode(embedding, replace(asking(1, [True]), logits=logits))
    check_whole(asking(1, [True]), "tiny", answers=True)


def test_whole_needs_a_mask_and_a_value_for_each_row():
    with pytest.raises(InputError, match=r"Prompts.whole says how to read mask prompts, got none"):
        replace(make_prompts(1, points=1), whole=np.array([True]))
    with pytest.raises(InputError, match=r"Prompts.whole must be \(2,\), got \(1,\)"):
        asking(2, [True])


def test_rows_that_are_picked_keep_what_they_ask():
    picked = take(asking(3, [False, True, False]), [1, 2])
    assert picked.whole.tolist() == [True, False]
