"""The SAM backends against the published predictor, on seeded weights.

The encoder is cut down to two narrow blocks (one windowed, one global) so that the tests are quick;
all sizes that matter to geometry, prompt encoder and mask decoder are those of the real models.
"""

from functools import partial

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from uosam.backends import BackendOptions, load_backend
from uosam.backends.batching import rows_of_equal_points, stability
from uosam.backends.device import choose_device
from uosam.backends.sam import BUILDERS, SamBackend
from uosam.errors import BackendError, ConfigError, InputError
from uosam.structures import Embedding, Prompts

SIZES = [(60, 90), (90, 61), (50, 50), (1, 1), (3, 200), (700, 1100)]


def seed_weights(module):
    """Fill a network with values that give lively masks and scores on both sides of the limits."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if value.ndim > 1:
                value.copy_(noise / np.sqrt(max(1, value[0].numel())))
            else:
                value.copy_(0.1 * noise + float("norm" in name and "weight" in name))
        head = module.mask_decoder.iou_prediction_head.layers[-1]
        head.weight.mul_(0.3)
        head.bias.add_(0.5)
        for mlp in module.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(45)
    return module


@pytest.fixture(scope="session")
def sam():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        depth=2,
        embed_dim=32,
        img_size=1024,
        mlp_ratio=2,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=[1],
        window_size=14,
        out_chans=256,
    )
    network = Sam(
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=256,
            image_embedding_size=(64, 64),
            input_image_size=(1024, 1024),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
        ),
    )
    return seed_weights(network).eval()


@pytest.fixture(scope="session")
def backend(sam):
    return SamBackend(sam=sam, device=torch.device("cpu"))


def picture(hw, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8)


@pytest.fixture(scope="session")
def embedding(backend):
    return backend.embed(picture((60, 90)))


@pytest.fixture(scope="session")
def predictor(sam):
    predictor = SamPredictor(sam)
    predictor.set_image(picture((60, 90)))
    return predictor


def make_prompts(rows=1, *, points=2, boxes=False, logits=False, hw=(60, 90), seed=1):
    rng = np.random.default_rng(seed)
    height, width = hw
    xy = rng.uniform(0, 1, (rows, points, 2)) * (width - 1, height - 1)
    corners = np.sort(rng.uniform(0, 1, (rows, 2, 2)), axis=1) * (width - 1, height - 1)
    return Prompts(
        points=xy.astype(np.float32),
        point_labels=rng.integers(0, 2, (rows, points)).astype(np.int8),
        boxes=corners.reshape(rows, 4).astype(np.float32) if boxes else None,
        logits=rng.normal(0, 4, (rows, 256, 256)).astype(np.float32) if logits else None,
        labels=np.arange(rows, dtype=np.int32),
    )


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
    monkeypatch.setattr(
        type(backend.sam), "postprocess_masks", lambda *args: pytest.fail("a mask was enlarged")
    )
    nothing = backend.decode(embedding, make_prompts(3), min_score=1.1)
    assert nothing.masks.shape == (0, 60, 90)
    assert nothing.logits.shape == (0, 256, 256)
    assert len(nothing) == len(nothing.row) == 0


def test_no_rows_give_no_masks(backend, embedding):
    nothing = backend.decode(embedding, make_prompts(0))
    assert nothing.masks.shape == (0, 60, 90)
    assert nothing.logits.shape == (0, 256, 256)


class Scarce:
    """A mask decoder on a device with memory for some prompts only."""

    def __init__(self, decoder, room):
        self.decoder, self.room, self.batches = decoder, room, []

    def __call__(self, **kwargs):
        rows = len(kwargs["sparse_prompt_embeddings"])
        self.batches.append(rows)
        if rows > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return self.decoder(**kwargs)


@pytest.fixture
def scarce(sam):
    decoder = sam.mask_decoder
    del sam._modules["mask_decoder"]

    def make(room, batch_size=64):
        sam.mask_decoder = Scarce(decoder, room)
        return SamBackend(sam=sam, device=torch.device("cpu"), batch_size=batch_size)

    yield make
    del sam.mask_decoder
    sam._modules["mask_decoder"] = decoder


def test_batches_are_halved_on_out_of_memory(backend, scarce, embedding):
    prompts = make_prompts(7)
    backend = scarce(2, batch_size=6)
    halved = backend.decode(embedding, prompts)
    assert backend.sam.mask_decoder.batches == [6, 3, 1, 1, 1, 1, 1, 1, 1]
    roomy = scarce(100).decode(embedding, prompts)
    np.testing.assert_allclose(halved.logits, roomy.logits, atol=1e-4)
    assert halved.row.tolist() == roomy.row.tolist()


def test_batch_size_is_kept_to(scarce, embedding):
    backend = scarce(100, batch_size=3)
    backend.decode(embedding, make_prompts(7))
    assert backend.sam.mask_decoder.batches == [3, 3, 1]


def test_no_memory_for_one_prompt_or_picture(scarce, embedding, monkeypatch):
    backend = scarce(0)
    with pytest.raises(BackendError, match="not enough memory on the device to decode one prompt"):
        backend.decode(embedding, make_prompts(2))

    def fails(*args):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(type(backend.sam.image_encoder), "forward", fails)
    with pytest.raises(BackendError, match="not enough memory on cpu to encode one picture; use"):
        backend.embed(picture((5, 5)))


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


def test_groups_of_rows():
    prompts = make_prompts(4, points=2, boxes=True)
    prompts.point_labels[:] = [[1, 0], [-1, 1], [-1, -1], [0, 0]]
    assert [rows.tolist() for rows in rows_of_equal_points(prompts)] == [[2], [1], [0, 3]]


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
    with pytest.raises(ConfigError, match=r"unknown SAM model 'uosam.backends.sam:load'; \(known"):
        load_backend(BackendOptions(name="uosam.backends.sam:load"))


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """The true vit_b with seeded weights, and the file it was saved to."""
    network = seed_weights(BUILDERS["vit_b"]()).eval()
    path = tmp_path_factory.mktemp("weights") / "vit_b.pth"
    torch.save(network.state_dict(), path)
    return network, path


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
