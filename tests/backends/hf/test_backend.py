"""The hf backend against the forward pass and processors of transformers, on small networks."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from tests.small_sam import make_prompts, picture
from uosam.backends import BackendOptions, load_backend, weights_digest
from uosam.backends.hf.backend import load
from uosam.errors import BackendError, InputError
from uosam.structures import Embedding

transformers = pytest.importorskip(
    "transformers", minversion="4.56", reason="needs pip install 'uosam[hf]'"
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SIDE, GRID = 128, 8
KINDS = [
    {"points": 1},
    {"points": 3},
    {"points": 0, "boxes": True},
    {"points": 2, "boxes": True},
    {"points": 0, "logits": True},
    {"points": 2, "logits": True},
    {"points": 2, "boxes": True, "logits": True},
]


def sam_parts(prefix):
    vision = getattr(transformers, f"{prefix}VisionConfig")(
        hidden_size=32, output_channels=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=SIDE, patch_size=16, window_size=3, global_attn_indexes=[1], mlp_dim=64,
        num_pos_feats=16,
    )  # fmt: skip
    prompts = getattr(transformers, f"{prefix}PromptEncoderConfig")(
        hidden_size=32, image_size=SIDE, patch_size=16, mask_input_channels=16
    )
    more = {"vit_dim": 32} if prefix == "SamHQ" else {}
    decoder = getattr(transformers, f"{prefix}MaskDecoderConfig")(
        hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32, **more
    )
    return {"vision_config": vision, "prompt_encoder_config": prompts,
            "mask_decoder_config": decoder}  # fmt: skip


def sam2_parts():
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=16, num_attention_heads=1, image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1], embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 1, 2, 2], window_size_per_stage=[8, 4, 4, 2],
        global_attention_blocks=[3],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16], fpn_hidden_size=32,
        backbone_feature_sizes=[[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2],
    )  # fmt: skip
    prompts = transformers.Sam2PromptEncoderConfig(hidden_size=32, image_size=SIDE, patch_size=16)
    decoder = transformers.Sam2MaskDecoderConfig(
        hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32
    )
    return {"vision_config": vision, "prompt_encoder_config": prompts,
            "mask_decoder_config": decoder}  # fmt: skip


def sam3_parts():
    backbone = transformers.Sam3ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=SIDE, patch_size=16, window_size=4, global_attn_indexes=[1],
        pretrain_image_size=SIDE,
    )  # fmt: skip
    vision = transformers.Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=32,
        backbone_feature_sizes=[[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2],
    )  # fmt: skip
    prompts = transformers.Sam3TrackerPromptEncoderConfig(
        hidden_size=32, image_size=SIDE, patch_size=16
    )
    decoder = transformers.Sam3TrackerMaskDecoderConfig(
        hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32
    )
    return {"vision_config": vision, "prompt_encoder_config": prompts,
            "mask_decoder_config": decoder}  # fmt: skip


def edgetam_parts():
    backbone = transformers.TimmWrapperConfig(
        architecture="repvit_m0_9",
        model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    )
    vision = transformers.EdgeTamVisionConfig(
        backbone_config=backbone, backbone_channel_list=[384, 192, 96, 48], fpn_hidden_size=32,
        backbone_feature_sizes=[[4 * GRID] * 2, [2 * GRID] * 2, [GRID] * 2],
    )  # fmt: skip
    prompts = transformers.EdgeTamPromptEncoderConfig(
        hidden_size=32, image_size=SIDE, patch_size=16
    )
    decoder = transformers.EdgeTamMaskDecoderConfig(
        hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32
    )
    return {"vision_config": vision, "prompt_encoder_config": prompts,
            "mask_decoder_config": decoder}  # fmt: skip


STRETCHED = {"sam2": "Sam2", "sam3_tracker": "Sam3Tracker", "edgetam": "EdgeTam"}
"""Families that stretch pictures, and what their classes begin with."""


FAMILIES = [
    "sam",
    "sam_hq",
    "sam2",
    "sam3_tracker",
    pytest.param("edgetam", marks=pytest.mark.slow),
]


def seed_network(network):
    """Fill a network with values that give masks with both signs and scores on both sides."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if value.ndim > 1 and "embed" not in name:
                value.copy_(noise / np.sqrt(max(1, value[0].numel())))
            else:
                value.copy_(0.3 * noise + float("norm" in name and "weight" in name))
        for mlp in network.mask_decoder.output_hypernetworks_mlps:
            mlp.proj_out.weight.mul_(20)
    return network.eval()


def build(name):
    """A network and the processor that belongs to it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if name in STRETCHED:
        if not hasattr(transformers, f"{STRETCHED[name]}Model"):
            pytest.skip(f"this transformers has no {STRETCHED[name]}Model")
        parts = {"sam2": sam2_parts, "sam3_tracker": sam3_parts, "edgetam": edgetam_parts}[name]()
        config = getattr(transformers, f"{STRETCHED[name]}Config")(**parts)
        network = getattr(transformers, f"{STRETCHED[name]}Model")(config)
        kind = "Sam3" if name == "sam3_tracker" else "Sam2"
        images = getattr(transformers, f"{kind}ImageProcessor")(
            size={"height": SIDE, "width": SIDE}, mask_size={"height": 4 * GRID, "width": 4 * GRID}
        )
        kind = "Sam3Tracker" if name == "sam3_tracker" else "Sam2"
        processor = getattr(transformers, f"{kind}Processor")(images, target_size=SIDE)
        return seed_network(network), processor
    prefix = {"sam": "Sam", "sam_hq": "SamHQ"}[name]
    config = getattr(transformers, f"{prefix}Config")(**sam_parts(prefix))
    network = getattr(transformers, f"{prefix}Model")(config)
    images = transformers.SamImageProcessor(
        size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}
    )
    return seed_network(network), getattr(transformers, f"{prefix}Processor")(images)


@pytest.fixture(scope="module", params=FAMILIES)
def made(request, tmp_path_factory):
    network, processor = build(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    network.save_pretrained(folder)
    backend = load_backend(BackendOptions(name="hf", checkpoint=str(folder), device="cpu"))
    return request.param, network, processor, backend, folder


def questions(rows=1, hw=(60, 90), **kinds):
    prompts = make_prompts(rows, hw=hw, **{"points": 2} | kinds)
    if prompts.logits is not None:
        small = np.ascontiguousarray(prompts.logits[:, : 4 * GRID, : 4 * GRID])
        object.__setattr__(prompts, "logits", small)
    return prompts


def ask(made, image, prompts, multimask):
    """What the network's own processor, forward pass and post-processing answer to one row."""
    name, network, processor, *_ = made
    given = {"images": Image.fromarray(image), "return_tensors": "pt"}
    if prompts.points.shape[1]:
        given["input_points"] = [[prompts.points[0].tolist()]]
        given["input_labels"] = [[prompts.point_labels[0].astype(int).tolist()]]
    if prompts.boxes is not None:
        given["input_boxes"] = [[prompts.boxes[0].tolist()]]
    inputs = processor(**given)
    sizes = inputs.pop("original_sizes")
    reshaped = inputs.pop("reshaped_input_sizes", None)
    if prompts.logits is not None:
        inputs["input_masks"] = torch.from_numpy(prompts.logits)[None]
    with torch.inference_mode():
        answer = network(**inputs, multimask_output=multimask)
    logits = answer.pred_masks
    if name in STRETCHED:
        (masks,) = processor.post_process_masks(logits, sizes)
    else:
        (masks,) = processor.image_processor.post_process_masks(
            logits, sizes, reshaped, pad_size={"height": SIDE, "width": SIDE}
        )
    return masks[0].numpy(), answer.iou_scores[0, 0].numpy(), logits[0, 0].numpy()


def test_what_a_network_lacks_is_told_once(tmp_path, caplog, monkeypatch):
    parts = sam_parts("Sam")
    parts["mask_decoder_config"].num_multimask_outputs = 1
    transformers.SamModel(transformers.SamConfig(**parts)).save_pretrained(tmp_path)
    monkeypatch.setattr(logging.getLogger("uosam"), "propagate", True)
    with caplog.at_level("WARNING", logger="uosam"):
        backend = load(BackendOptions(name="hf", checkpoint=str(tmp_path), device="cpu"))
        embedding = backend.embed(picture((60, 90)))
        found = [backend.decode(embedding, questions(points=1)) for _ in range(2)]
    assert [len(answer) for answer in found] == [1, 1]
    assert caplog.text.count("answers a prompt with 1 mask(s) where others give 3") == 1


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: "+".join(kinds))
def test_equals_the_networks_own_forward(made, kinds, multimask):
    backend, image, prompts = made[3], picture((60, 90)), questions(**kinds)
    proposals = backend.decode(backend.embed(image), prompts, multimask=multimask)
    masks, scores, logits = ask(made, image, prompts, multimask)
    assert len(proposals) == (3 if multimask else 1)
    np.testing.assert_allclose(proposals.logits, logits, atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(proposals.scores, np.clip(scores, 0, 1), atol=1e-4)
    assert (proposals.masks == masks).mean() > 0.999
    if made[0] != "edgetam" or multimask:  # its single mask covers all, with these weights
        assert 0.02 < masks.mean() < 0.98


@pytest.mark.parametrize("hw", [(90, 60), (60, 90), (50, 50), (128, 128), (3, 200), (1, 1)])
def test_every_shape_of_picture(made, hw):
    name, network, processor, backend, _ = made
    image = picture(hw)
    embedding = backend.embed(image)
    with torch.inference_mode():
        found = network.get_image_embeddings(
            processor(images=Image.fromarray(image), return_tensors="pt").pixel_values
        )
    last = found[-1] if name in STRETCHED else found
    expected = (found[0] if name == "sam_hq" else last)[0].numpy()
    np.testing.assert_allclose(embedding.features, expected, atol=1e-4)
    assert embedding.features.shape == (32, GRID, GRID)
    assert embedding.image_hw == hw
    covered = (GRID, GRID) if name in STRETCHED else [GRID * side / max(hw) for side in hw]
    assert embedding.extent == pytest.approx(tuple(covered), abs=GRID / SIDE)
    prompts = questions(points=1, boxes=True, hw=hw)
    proposals = backend.decode(embedding, prompts)
    masks, *_ = ask(made, image, prompts, True)
    assert proposals.masks.shape == (3, *hw) == masks.shape
    assert (proposals.masks == masks).mean() > 0.999
    assert proposals.logits.shape[1:] == embedding.logits_hw == (4 * GRID, 4 * GRID)


@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: "+".join(kinds))
def test_a_batch_answers_as_each_row_alone(made, kinds):
    backend = made[3]
    embedding = backend.embed(picture((60, 90)))
    prompts = questions(5, **kinds)
    together = backend.decode(embedding, prompts)
    assert together.row.tolist() == np.repeat(np.arange(5), 3).tolist()
    for row in range(5):
        one = type(prompts)(**{
            key: None if value is None else value[row : row + 1]
            for key, value in vars(prompts).items()
        })  # fmt: skip
        alone = backend.decode(embedding, one)
        part = together.row == row
        np.testing.assert_allclose(together.logits[part], alone.logits, atol=1e-3, rtol=1e-4)
        np.testing.assert_allclose(together.scores[part], alone.scores, atol=1e-5)
        assert (together.masks[part] == alone.masks).mean() > 0.999


def test_padding_does_not_change_the_answer(made):
    backend = made[3]
    embedding = backend.embed(picture((60, 90)))
    prompts = questions(2, points=3)
    prompts.point_labels[0, 1:] = -1
    together = backend.decode(embedding, prompts)
    lone = questions(2, points=3)
    one = type(lone)(points=lone.points[:1, :1], point_labels=lone.point_labels[:1, :1],
                     labels=lone.labels[:1])  # fmt: skip
    alone = backend.decode(embedding, one)
    np.testing.assert_allclose(together.logits[:3], alone.logits, atol=1e-3, rtol=1e-4)


def test_an_embedding_is_a_value(made):
    backend = made[3]
    embedding = backend.embed(picture((60, 90)))
    before = backend.decode(embedding, questions())
    backend.decode(backend.embed(picture((80, 40), seed=9)), questions(hw=(80, 40)))
    after = backend.decode(embedding, questions())
    np.testing.assert_array_equal(before.logits, after.logits)
    np.testing.assert_array_equal(before.masks, after.masks)


def test_hopeless_masks_are_dropped(made):
    backend = made[3]
    embedding = backend.embed(picture((60, 90)))
    every = backend.decode(embedding, questions(8))
    for name in ("score", "stability"):
        values = getattr(every, "scores" if name == "score" else name)
        assert ((values >= 0) & (values <= 1)).all()
        cut = float(np.median(values))
        kept = backend.decode(embedding, questions(8), **{f"min_{name}": cut})
        np.testing.assert_array_equal(kept.masks, every.masks[values >= cut])
        np.testing.assert_array_equal(kept.row, every.row[values >= cut])
    none = backend.decode(embedding, questions(8), min_score=1.1)
    assert none.masks.shape == (0, 60, 90)


def test_bfloat16_stays_close(made):
    options = BackendOptions(
        name="hf", checkpoint=str(made[4]), device="cpu", precision="bfloat16", batch_size=2
    )
    rough, exact = load(options), made[3]
    image, prompts = picture((60, 90)), questions(3, boxes=True)
    a, b = exact.embed(image), rough.embed(image)
    assert b.features.dtype == np.float32
    assert 0 < np.abs(a.features - b.features).mean() / a.features.std() < 0.05
    masks = rough.decode(b, prompts).masks
    if made[0] != "sam_hq":  # which orders masks by scores that lie close together here
        assert (exact.decode(a, prompts).masks == masks).mean() > 0.9


def test_refusals(made):
    backend = made[3]
    embedding = backend.embed(picture((60, 90)))
    with pytest.raises(InputError, match=r"picture must be \(H, W, 3\) uint8 RGB"):
        backend.embed(np.zeros((5, 5), np.uint8))
    foreign = Embedding(
        features=embedding.features, extent=(8.0, 8.0), image_hw=(60, 90), state="else"
    )
    with pytest.raises(InputError, match=r"made by embed of (SAM|Edge).*, got one with state"):
        backend.decode(foreign, questions())
    with pytest.raises(InputError, match=r"must be \(B, 32, 32\) for this embedding, got"):
        backend.decode(embedding, make_prompts(logits=True))


def test_the_folder_is_what_is_fingerprinted(made, tmp_path):
    folder = made[4]
    options = BackendOptions(name="hf", checkpoint=str(folder))
    digest = weights_digest(options)
    assert len(digest) == 64
    (folder / "notes.txt").write_text("nothing to the weights")
    assert weights_digest(options) == digest
    (folder / "more.json").write_text("{}")
    assert weights_digest(options) != digest
    (folder / "more.json").unlink()
    with pytest.raises(BackendError, match=r"folder with config.json and weights, found no such"):
        weights_digest(BackendOptions(name="hf", checkpoint=str(tmp_path)))


def test_lack_of_memory_is_told(made, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("out of memory")

    backend = load(BackendOptions(name="hf", checkpoint=str(made[4]), device="cpu"))
    monkeypatch.setattr(backend.network, "get_image_embeddings", fail)
    with pytest.raises(BackendError, match="not enough memory on cpu to encode one picture"):
        backend.embed(picture((20, 20)))

    def break_(*args, **kwargs):
        raise RuntimeError("something else")

    monkeypatch.setattr(backend.network, "get_image_embeddings", break_)
    with pytest.raises(RuntimeError, match="something else"):
        backend.embed(picture((20, 20)))
