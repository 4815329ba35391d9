"""The SAM backends against the published predictor, on seeded weights.

The encoder is cut down to two narrow blocks so that the tests are quick; all sizes that matter to
geometry, prompt encoder and mask decoder are those of the real models.
"""

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from tests.small_sam import build_small_sam, make_prompts, picture, seed_weights
from uosam.backends import BackendOptions, load_backend
from uosam.backends.device import choose_device
from uosam.backends.sam.backend import SamBackend
from uosam.backends.sam.builders import BUILDERS
from uosam.errors import BackendError, ConfigError, InputError
from uosam.structures import Embedding, Prompts

SIZES = [(60, 90), (90, 61), (50, 50), (1, 1), (3, 200), (700, 1100)]


@pytest.fixture(scope="session")
def sam():
    return build_small_sam()


@pytest.fixture(scope="session")
def backend(sam):
    return SamBackend(sam=sam, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def embedding(backend):
    return backend.embed(picture((60, 90)))


@pytest.fixture(scope="session")
def predictor(sam):
    predictor = SamPredictor(sam)
    predictor.set_image(picture((60, 90)))
    return predictor


def ask(predictor, prompts, row=0, multimask=True):
    """What the published predictor answers to one row."""
    real = prompts.point_labels[row] >= 0
    return predictor.predict(
        point_coords=prompts.points[row][real] if real.any() else None,
        point_labels=prompts.point_labels[row][real] if real.any() else None,
        box=None if prompts.boxes is None else prompts.boxes[row],
        mask_input=None if prompts.logits is None else prompts.logits[row][None],
        multimask_output=multimask,
    )


def same(proposals, expected):
    masks, scores, logits = expected
    np.testing.assert_allclose(proposals.logits, logits, atol=1e-4)
    np.testing.assert_allclose(proposals.scores, np.clip(scores, 0, 1), atol=1e-5)
    assert proposals.masks.shape == masks.shape
    assert (proposals.masks == masks).mean() > 0.9999
    assert proposals.masks.dtype == np.bool_


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize(
    "kinds",
    [
        {"points": 1},
        {"points": 3},
        {"points": 0, "boxes": True},
        {"points": 2, "boxes": True},
        {"points": 0, "logits": True},
        {"points": 2, "logits": True},
        {"points": 2, "boxes": True, "logits": True},
    ],
    ids=lambda kinds: "+".join(kinds),
)
def test_equals_the_published_predictor(backend, predictor, embedding, kinds, multimask):
    prompts = make_prompts(**kinds)
    proposals = backend.decode(embedding, prompts, multimask=multimask)
    assert len(proposals) == (3 if multimask else 1)
    assert proposals.row.tolist() == [0] * len(proposals)
    same(proposals, ask(predictor, prompts, multimask=multimask))


@pytest.mark.parametrize("hw", SIZES)
def test_equals_the_published_predictor_at_every_shape(backend, sam, hw):
    image = picture(hw)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    embedding = backend.embed(image)
    np.testing.assert_allclose(
        embedding.features, predictor.get_image_embedding()[0].numpy(), atol=1e-5
    )
    assert embedding.features.shape == (256, 64, 64)
    assert embedding.features.dtype == np.float32
    assert embedding.image_hw == hw
    assert embedding.extent == pytest.approx(tuple(64 * side / max(hw) for side in hw), abs=0.04)
    prompts = make_prompts(points=1, boxes=True, hw=hw)
    proposals = backend.decode(embedding, prompts)
    same(proposals, ask(predictor, prompts))
    assert proposals.masks.shape == (3, *hw)


def test_one_pixel_high_picture(backend):
    """The published predictor rounds its height to nothing; ours keeps a row."""
    embedding = backend.embed(picture((1, 2100)))
    assert embedding.extent == (1 / 16, 64.0)
    assert backend.decode(embedding, make_prompts(hw=(1, 2100))).masks.shape == (3, 1, 2100)


def test_padding_does_not_change_the_answer(backend, predictor, embedding):
    prompts = make_prompts(2, points=3)
    prompts.point_labels[0, 1:] = -1
    proposals = backend.decode(embedding, prompts)
    masks, scores, _ = ask(predictor, prompts, row=0)
    assert (proposals.masks[:3] == masks).mean() > 0.9999
    np.testing.assert_allclose(proposals.scores[:3], np.clip(scores, 0, 1), atol=1e-5)


def test_an_embedding_is_a_value(backend, embedding):
    before = backend.decode(embedding, make_prompts())
    backend.decode(backend.embed(picture((80, 40), seed=9)), make_prompts(hw=(80, 40)))
    after = backend.decode(embedding, make_prompts())
    np.testing.assert_array_equal(before.logits, after.logits)
    np.testing.assert_array_equal(before.masks, after.masks)


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)),
     np.zeros((0, 5, 3), np.uint8)],
    ids=["grey", "RGBA", "float", "empty"],
)  # fmt: skip
def test_refuses_other_pictures(backend, image):
    with pytest.raises(InputError, match=r"picture must be \(H, W, 3\) uint8 RGB"):
        backend.embed(image)


def test_refuses_prompts_it_cannot_answer(backend, embedding):
    nothing = make_prompts(3)
    nothing.point_labels[1] = -1
    with pytest.raises(InputError, match="must have a point, a box or a mask, got none in row 1"):
        backend.decode(embedding, nothing)
    small = Prompts(
        points=np.zeros((1, 0, 2), np.float32),
        point_labels=np.zeros((1, 0), np.int8),
        logits=np.zeros((1, 64, 64), np.float32),
        labels=np.zeros(1, np.int32),
    )
    with pytest.raises(InputError, match=r"must be \(B, 256, 256\) for this embedding, got"):
        backend.decode(embedding, small)
    foreign = Embedding(
        features=embedding.features, extent=(64.0, 64.0), image_hw=(60, 90), state="else"
    )
    with pytest.raises(InputError, match="embedding made by embed of a SAM backend, got one with"):
        backend.decode(foreign, make_prompts())


def test_bfloat16_stays_close(sam, backend, embedding):
    halved = SamBackend(sam=sam, device=torch.device("cpu"), autocast=True)
    other = halved.embed(picture((60, 90)))
    assert other.features.dtype == np.float32
    error = np.abs(other.features - embedding.features).mean() / embedding.features.std()
    assert 0 < error < 0.05
    prompts = make_prompts(2, boxes=True)
    exact, rough = backend.decode(embedding, prompts), halved.decode(other, prompts)
    assert rough.logits.dtype == rough.scores.dtype == np.float32
    assert (exact.masks == rough.masks).mean() > 0.95


def test_devices():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("gpu", "cuda:99"):
        with pytest.raises(
            BackendError, match=f"one that torch finds on this machine, got '{name}"
        ):
            choose_device(name)


def test_unknown_model():
    name = "uosam.backends.sam.backend:load"
    with pytest.raises(ConfigError, match=rf"unknown SAM model '{name}' \(known"):
        load_backend(BackendOptions(name=name))


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """The true vit_b with seeded weights, and the file it was saved to."""
    network = seed_weights(BUILDERS["vit_b"]()).eval()
    path = tmp_path_factory.mktemp("weights") / "vit_b.pth"
    torch.save(network.state_dict(), path)
    yield network, path
    path.unlink()  # 375 MB


def test_vit_b_is_loaded_from_its_file(real):
    network, path = real
    loaded = load_backend(BackendOptions(name="vit_b", checkpoint=str(path), device="cpu"))
    assert not loaded.sam.training
    expected = network.state_dict()
    actual = loaded.sam.state_dict()
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[key], expected[key]) for key in expected)
    for name, buffer in network.named_buffers():
        assert torch.equal(dict(loaded.sam.named_buffers())[name], buffer)


@pytest.mark.slow
def test_vit_b_equals_the_published_predictor(real):
    network, path = real
    loaded = load_backend(BackendOptions(name="vit_b", checkpoint=str(path), device="cpu"))
    image, prompts = picture((60, 90)), make_prompts(points=1, boxes=True)
    predictor = SamPredictor(network)
    predictor.set_image(image)
    same(loaded.decode(loaded.embed(image), prompts), ask(predictor, prompts))
