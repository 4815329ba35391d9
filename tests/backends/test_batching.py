"""Decoding in batches: equal to single decodes, filtered early, halved when memory is short."""

import numpy as np
import pytest
import torch

from tests.small_sam import build_small_sam, make_prompts, picture
from uosam.backends.batching import enlarge_padded, rows_of_equal_points, stability
from uosam.backends.device import out_of_memory
from uosam.backends.sam import backend as sam_backend
from uosam.backends.sam.absorbed import AbsorbedDecoder
from uosam.backends.sam.backend import SamBackend
from uosam.errors import BackendError
from uosam.structures import Prompts


@pytest.fixture(scope="session")
def sam():
    return build_small_sam()


@pytest.fixture(scope="session")
def backend(sam):
    return SamBackend(sam=sam, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def embedding(backend):
    return backend.embed(picture((60, 90)))


@pytest.mark.parametrize("kinds", [{"boxes": True}, {"logits": True}, {}], ids=str)
def test_a_batch_equals_single_decodes(backend, embedding, kinds):
    prompts = make_prompts(5, points=3, **kinds)
    # Padding of all lengths and places, so that rows fall into several groups.
    prompts.point_labels[0, 1] = prompts.point_labels[3, :2] = prompts.point_labels[4, 2] = -1
    together = backend.decode(embedding, prompts)
    assert together.row.tolist() == np.repeat(np.arange(5), 3).tolist()
    for row in range(5):
        real = prompts.point_labels[row] >= 0
        single = backend.decode(
            embedding,
            Prompts(
                points=prompts.points[row : row + 1][:, real],
                point_labels=prompts.point_labels[row : row + 1][:, real],
                boxes=None if prompts.boxes is None else prompts.boxes[row : row + 1],
                logits=None if prompts.logits is None else prompts.logits[row : row + 1],
                labels=prompts.labels[row : row + 1],
            ),
        )
        of_row = together.row == row
        np.testing.assert_allclose(together.logits[of_row], single.logits, atol=1e-4)
        np.testing.assert_allclose(together.scores[of_row], single.scores, atol=1e-5)
        np.testing.assert_allclose(together.stability[of_row], single.stability, atol=1e-3)
        assert (together.masks[of_row] == single.masks).mean() > 0.9999


def slow_stability(logits, rows, cols):
    """SAM's score by sets of cells of the part that the picture covers."""
    inside = {(y, x) for y in range(rows) for x in range(cols) if logits[y, x] > 1}
    around = {(y, x) for y in range(rows) for x in range(cols) if logits[y, x] > -1}
    return len(inside & around) / len(inside | around) if around else 0.0


def test_stability_is_that_of_the_logits_where_the_picture_is(backend, embedding):
    proposals = backend.decode(embedding, make_prompts(2))
    # 60 x 90 becomes 683 x 1024 pixels, hence 171 of 256 rows of the logit grid.
    expected = [slow_stability(logits, 171, 256) for logits in proposals.logits]
    np.testing.assert_allclose(proposals.stability, expected, atol=1e-6)
    assert 0 < min(expected) < max(expected) < 1


def test_stability_of_an_empty_mask_is_zero():
    assert stability(torch.full((2, 4, 4), -5.0), 1.0, 1.0).tolist() == [0, 0]


def test_thresholds_drop_masks_and_keep_rows_apart(backend, embedding):
    prompts = make_prompts(6, points=2)
    everything = backend.decode(embedding, prompts)
    min_score = float(np.median(everything.scores))
    min_stability = float(np.quantile(everything.stability, 0.3))
    kept = (everything.scores >= min_score) & (everything.stability >= min_stability)
    assert 0 < kept.sum() < len(everything)
    some = backend.decode(embedding, prompts, min_score=min_score, min_stability=min_stability)
    np.testing.assert_array_equal(some.masks, everything.masks[kept])
    np.testing.assert_array_equal(some.scores, everything.scores[kept])
    np.testing.assert_array_equal(some.stability, everything.stability[kept])
    np.testing.assert_array_equal(some.logits, everything.logits[kept])
    np.testing.assert_array_equal(some.row, everything.row[kept])


def test_dropped_masks_are_not_enlarged(backend, embedding, monkeypatch):
    monkeypatch.setattr(sam_backend, "enlarge_padded", lambda *_: pytest.fail("enlarged"))
    for limits in ({"min_score": 1.1}, {"min_stability": 1.1}):
        nothing = backend.decode(embedding, make_prompts(3), **limits)
        assert nothing.masks.shape == (0, 60, 90)
        assert nothing.logits.shape == (0, 256, 256)
        assert len(nothing) == len(nothing.row) == 0


@pytest.mark.parametrize("hw", [(60, 90), (91, 60), (3, 200), (1, 1), (768, 1024), (1500, 2000)])
def test_masks_are_enlarged_as_the_published_model_does(sam, hw):
    generator = torch.Generator().manual_seed(3)
    logits = 5 * torch.randn(3, 1, 32, 32, generator=generator)
    logits = torch.nn.functional.interpolate(logits, (256, 256), mode="bicubic")
    covered = tuple(max(1, int(1024 * side / max(hw) + 0.5)) for side in hw)
    expected = sam.postprocess_masks(logits, covered, hw)
    enlarged = enlarge_padded(logits, 1024, covered, hw)
    torch.testing.assert_close(enlarged, expected, atol=1e-3, rtol=0)
    assert ((enlarged > 0) == (expected > 0)).float().mean() > 0.99999
    elsewhere = enlarge_padded(logits.to("meta"), 1024, covered, hw)
    assert elsewhere.shape == expected.shape


def test_no_rows_give_no_masks(backend, embedding):
    nothing = backend.decode(embedding, make_prompts(0))
    assert nothing.masks.shape == (0, 60, 90)
    assert nothing.logits.shape == (0, 256, 256)


@pytest.fixture
def scarce(sam, monkeypatch):
    """A mask decoder on a device with memory for some prompts only; remembers its batches."""
    decode = AbsorbedDecoder.decode

    def make(room, batch_size=64):
        batches = []

        def limited(decoder, picture, sparse, *args, **kwargs):
            batches.append(len(sparse))
            if len(sparse) > room:
                raise torch.OutOfMemoryError("out of memory")
            return decode(decoder, picture, sparse, *args, **kwargs)

        monkeypatch.setattr(AbsorbedDecoder, "decode", limited)
        return SamBackend(sam=sam, device=torch.device("cpu"), batch_size=batch_size), batches

    return make


def test_batches_are_halved_on_out_of_memory(backend, scarce, embedding):
    prompts = make_prompts(7)
    backend, batches = scarce(2, batch_size=6)
    halved = backend.decode(embedding, prompts)
    assert batches == [6, 3, 1, 1, 1, 1, 1, 1, 1]
    roomy = scarce(100)[0].decode(embedding, prompts)
    np.testing.assert_allclose(halved.logits, roomy.logits, atol=1e-4)
    assert halved.row.tolist() == roomy.row.tolist()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("any words"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
    ],
)
def test_out_of_memory_is_recognised(error, expected):
    assert out_of_memory(error) == expected


def test_other_errors_come_through(backend, embedding, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("something else")

    monkeypatch.setattr(AbsorbedDecoder, "decode", fails)
    with pytest.raises(RuntimeError, match="something else"):
        backend.decode(embedding, make_prompts())
    monkeypatch.setattr(type(backend.sam.image_encoder), "forward", fails)
    with pytest.raises(RuntimeError, match="something else"):
        backend.embed(picture((5, 5)))


def test_batch_size_is_kept_to(scarce, embedding):
    backend, batches = scarce(100, batch_size=3)
    backend.decode(embedding, make_prompts(7))
    assert batches == [3, 3, 1]


def test_no_memory_for_one_prompt_or_picture(scarce, embedding, monkeypatch):
    backend, _ = scarce(0)
    with pytest.raises(BackendError, match="not enough memory on the device to decode one prompt"):
        backend.decode(embedding, make_prompts(2))

    def fails(*args):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(type(backend.sam.image_encoder), "forward", fails)
    with pytest.raises(BackendError, match="not enough memory on cpu to encode one picture; use"):
        backend.embed(picture((5, 5)))


def test_groups_of_rows():
    prompts = make_prompts(4, points=2, boxes=True)
    prompts.point_labels[:] = [[1, 0], [-1, 1], [-1, -1], [0, 0]]
    assert [rows.tolist() for rows in rows_of_equal_points(prompts)] == [[2], [1], [0, 3]]
