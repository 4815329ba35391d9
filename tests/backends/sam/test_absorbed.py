"""The shortened mask decoder against the segment-anything package's own, on seeded weights.

Oracle: ``segment_anything.modeling.MaskDecoder.predict_masks``, all four outputs of it.
"""

import pytest
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from tests.small_sam import seed_weights
from uosam.backends.sam import absorbed_cells
from uosam.backends.sam.absorbed import AbsorbedDecoder

SIDE = 1024

NETWORKS = {  # width, heads, grid
    "one head a grid that is no square": (16, 1, (4, 7)),
    "narrow heads": (48, 8, (16, 16)),
    "half as wide": (128, 4, (32, 32)),
    "published": (256, 8, (64, 64)),
}

KINDS = {
    "point": {"points": 1},
    "points": {"points": 4},
    "more points than are absorbed": {"points": 14},
    "box": {"points": 0, "boxes": True},
    "box and points": {"points": 3, "boxes": True},
    "mask": {"points": 0, "masks": True},
    "mask, box and points": {"points": 2, "boxes": True, "masks": True},
    "mask and many points": {"points": 14, "masks": True},
}
ROWS = 3  # an odd number: rows go two at a time, and the last alone


class NoEncoder(torch.nn.Module):
    """Stands where the image encoder is; the features are drawn."""

    img_size = SIDE


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda name: name.split()[0])
def sam(request):
    width, heads, grid = NETWORKS[request.param]
    torch.manual_seed(0)
    network = Sam(
        image_encoder=NoEncoder(),
        prompt_encoder=PromptEncoder(
            embed_dim=width,
            image_embedding_size=grid,
            input_image_size=(SIDE, SIDE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=width,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=width, mlp_dim=4 * width, num_heads=heads
            ),
        ),
    )
    seed_weights(network)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias") and "norm" not in name:
                value.mul_(4)  # a bias that is forgotten or counted twice must show
        last = network.mask_decoder.iou_prediction_head.layers[-1]
        last.weight.mul_(0.5)
        last.bias.copy_(torch.linspace(0.3, 0.6, 4))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def features(sam):
    width = sam.prompt_encoder.embed_dim
    grid = sam.prompt_encoder.image_embedding_size
    return torch.randn(1, width, *grid, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def decoder(sam):
    return AbsorbedDecoder(sam)


def embed_prompts(sam, rows=ROWS, *, points=1, boxes=False, masks=False):
    generator = torch.Generator().manual_seed(points)
    xy = SIDE * torch.rand(rows, points, 2, generator=generator)
    kinds = torch.randint(0, 2, (rows, points), generator=generator)
    corners = torch.sort(SIDE * torch.rand(rows, 2, 2, generator=generator), 1).values
    height, width = sam.prompt_encoder.image_embedding_size
    prompts = 4 * torch.randn(rows, 1, 4 * height, 4 * width, generator=generator)
    return sam.prompt_encoder(
        points=(xy, kinds) if points else None,
        boxes=corners.reshape(rows, 4) if boxes else None,
        masks=prompts if masks else None,
    )


def published(sam, features, sparse, dense):
    """All outputs: the single one, then the three."""
    return sam.mask_decoder.predict_masks(
        image_embeddings=features,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_equals_the_published_decoder(sam, decoder, features, kind):
    sparse, dense = embed_prompts(sam, **kind)
    all_logits, all_scores = published(sam, features, sparse, dense)
    assert all_logits.std() > 0.3
    picture = decoder.prepare(features)
    masks = dense if kind.get("masks") else None
    for multimask, outputs in ((True, slice(1, None)), (False, slice(0, 1))):
        logits, scores, left = decoder.decode(
            picture, sparse, masks, multimask=multimask, min_score=0.0
        )
        assert left.tolist() == list(range(ROWS))
        expected = all_logits[:, outputs]
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(scores, all_scores[:, outputs], atol=1e-5, rtol=0)
        sure = expected.abs() > 1e-4
        assert ((logits > 0) == (expected > 0))[sure].all()


@pytest.mark.parametrize("sam", ["narrow heads"], indirect=True)
def test_the_kinds_lie_on_both_sides_of_the_rule(sam):
    tokens = [5 + embed_prompts(sam, **kind)[0].shape[1] for kind in KINDS.values()]
    assert min(tokens) < absorbed_cells.ABSORBED_TOKENS < max(tokens)


@pytest.mark.parametrize("sam", ["narrow heads"], indirect=True)
@pytest.mark.parametrize("points", [10, 11], ids=["16 tokens", "17 tokens"])
def test_absorbed_or_not_the_answer_is_the_same(sam, decoder, features, points, monkeypatch):
    sparse, _ = embed_prompts(sam, points=points)
    assert 5 + sparse.shape[1] == points + 6
    picture = decoder.prepare(features)
    answers = []
    for limit in (0, 16, 99):
        monkeypatch.setattr(absorbed_cells, "ABSORBED_TOKENS", limit)
        answers.append(decoder.decode(picture, sparse, None, multimask=True, min_score=0.0)[0])
    torch.testing.assert_close(answers[0], answers[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(answers[0], answers[2], atol=1e-4, rtol=0)


@pytest.mark.parametrize("sam", ["narrow heads"], indirect=True)
@pytest.mark.parametrize("multimask", [True, False])
def test_rows_without_a_good_mask_are_left_out(sam, decoder, features, multimask):
    sparse, _ = embed_prompts(sam, 7, points=2)
    picture = decoder.prepare(features)
    logits, scores, _ = decoder.decode(picture, sparse, None, multimask=multimask, min_score=0.0)
    best = scores.clamp(0, 1).max(1).values
    limit = float(best.median())
    kept = (best >= limit).nonzero()[:, 0]
    assert 0 < len(kept) < 7
    some, some_scores, left = decoder.decode(
        picture, sparse, None, multimask=multimask, min_score=limit
    )
    assert left.tolist() == kept.tolist()
    torch.testing.assert_close(some_scores, scores[kept])
    torch.testing.assert_close(some, logits[kept])


@pytest.mark.parametrize("sam", ["narrow heads"], indirect=True)
def test_hopeless_rows_are_not_upscaled(sam, decoder, features, monkeypatch):
    sizes = []
    upscale = AbsorbedDecoder._masks

    def counted(self, tokens, cells, detail, outputs):
        sizes.append(len(tokens))
        return upscale(self, tokens, cells, detail, outputs)

    monkeypatch.setattr(AbsorbedDecoder, "_masks", counted)
    sparse, _ = embed_prompts(sam, 3, points=2)
    logits, scores, left = decoder.decode(
        decoder.prepare(features), sparse, None, multimask=True, min_score=1.1
    )
    assert sum(sizes) == 0
    height, width = sam.prompt_encoder.image_embedding_size
    assert logits.shape == (0, 3, 4 * height, 4 * width)
    assert scores.shape == (0, 3)
    assert left.shape == (0,)


@pytest.mark.parametrize("sam", ["narrow heads", "published"], indirect=True)
@pytest.mark.parametrize("kind", ["point", "mask, box and points", "mask and many points"])
def test_bfloat16_stays_as_close_as_autocast_does(sam, features, kind):
    kind = KINDS[kind]
    sparse, dense = embed_prompts(sam, 1, **kind)
    exact, exact_scores = (x[:, 1:] for x in published(sam, features, sparse, dense))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, _ = published(sam, features, sparse, dense)
    decoder = AbsorbedDecoder(sam, torch.bfloat16)
    logits, scores, _ = decoder.decode(
        decoder.prepare(features),
        sparse,
        dense if kind.get("masks") else None,
        multimask=True,
        min_score=0.0,
    )
    assert logits.dtype == scores.dtype == torch.float32

    def error(a, b):
        return float((a.float() - b).square().mean().sqrt() / b.std())

    assert 0 < error(logits, exact) < max(0.01, 1.2 * error(rough[:, 1:], exact))
    assert float((scores - exact_scores).abs().max()) < 0.02
    assert float(((logits > 0) == (exact > 0)).float().mean()) > 0.99


@pytest.mark.parametrize("sam", ["narrow heads"], indirect=True)
def test_rows_do_not_know_each_other(sam, decoder, features):
    sparse, dense = embed_prompts(sam, 5, points=1, masks=True)
    picture = decoder.prepare(features)
    together, _, _ = decoder.decode(picture, sparse, dense, multimask=True, min_score=0.0)
    for row in range(5):
        alone, _, _ = decoder.decode(
            picture, sparse[row, None], dense[row, None], multimask=True, min_score=0.0
        )
        torch.testing.assert_close(together[row], alone[0], atol=1e-4, rtol=0)
