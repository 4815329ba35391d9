"""Every record of the public code, in the order of its forward pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden_semantic_sam import picture, read_table, seeded_network, shape_of
from uosam.backends.semantic_sam.backend import SemanticSamBackend
from uosam.backends.semantic_sam.clicks import LEVEL_TOKEN, logit, waves
from uosam.backends.semantic_sam.deformable import DeformableAttention
from uosam.backends.semantic_sam.input import click_boxes, input_hw, prepare
from uosam.backends.semantic_sam.network import SIZES, SemanticSam
from uosam.backends.semantic_sam.pixels import Encoded, cell_centres, grid_positions
from uosam.backends.semantic_sam.published import Answers, answer, generate, predict
from uosam.backends.semantic_sam.weights import DROPPED, aliases
from uosam.structures import Prompts

HW = (300, 460)
CPU = torch.device("cpu")
FEATURES, LOGITS = 1e-4, 1e-3


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "golden" / "semantic_sam"


def close(found: torch.Tensor, expected: np.ndarray, tolerance: float, name: str = "") -> None:
    assert tuple(found.shape) == expected.shape, name
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=tolerance, err_msg=name)


def unpacked(bits: np.ndarray) -> np.ndarray:
    return np.unpackbits(bits, axis=-1, count=HW[1]).astype(bool)


def same_masks(found: np.ndarray, bits: np.ndarray) -> None:
    expected = unpacked(bits)
    assert found.shape == expected.shape
    assert (found != expected).mean(axis=(1, 2)).max(initial=0) <= 1e-4


def test_the_operator(folder: Path) -> None:
    recorded = np.load(folder / "deformable_attention.npz")
    attention = DeformableAttention(32, heads=4, levels=3)
    attention.load_state_dict(
        {key[2:]: torch.tensor(recorded[key]) for key in recorded.files if key.startswith("w_")}
    )
    memory, maps, start = torch.tensor(recorded["memory"]), [], 0
    for height, width in recorded["spatial_shapes"].tolist():
        part = memory[:, start : start + height * width]
        maps.append(part.mT.reshape(2, 32, height, width))
        start += height * width
    values = attention.project(maps)
    for kind in ("points", "boxes"):
        references = torch.tensor(recorded[f"ref_{kind}"])
        found = attention(torch.tensor(recorded["query"]), references, values)
        close(found.detach(), recorded[f"out_{kind}"], 1e-6, kind)


@pytest.mark.parametrize("size", ["t", "l"])
def test_the_keys(shared: Path, size: str) -> None:
    with torch.device("meta"):
        network = SemanticSam(SIZES[f"semantic_sam_{size}"])
    rows = read_table(shared, size)
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    unused = {row["key"]: shape_of(row) for row in rows if row["used"] == "no"}
    assert own == {
        row["key"]: shape_of(row)
        for row in rows
        if not row["alias_of"] and row["key"] not in unused
    }
    assert aliases(own) == {row["key"]: row["alias_of"] for row in rows if row["alias_of"]}
    assert unused == DROPPED


def test_pillow_resizes_as_published(folder: Path) -> None:
    recorded = np.load(folder / "prepare_image.npz")
    mean = torch.tensor((123.675, 116.28, 103.53))
    std = torch.tensor((58.395, 57.12, 57.375))
    for height, width in ((200, 301), (375, 500), (50, 41)):
        hw = input_hw((height, width), 640)
        assert hw == tuple(recorded[f"{height}x{width}_size"])
        pixels = prepare(picture(height, width), hw, CPU)[0, :, : hw[0], : hw[1]]
        whole = (pixels.permute(1, 2, 0) * std + mean).round().to(torch.uint8).numpy()
        assert np.array_equal(whole[::40, ::40], recorded[f"{height}x{width}_sub"])
        sums = whole.astype(np.int64).sum(axis=(0, 1))
        assert sums.tolist() == recorded[f"{height}x{width}_sum"].tolist()


def sliced(recorded: np.lib.npyio.NpzFile, name: str, found: torch.Tensor, stride: int) -> None:
    """Hold a map against its record, whose slice of channels follows from its shape."""
    expected = recorded[f"{name}_sub"]
    step = found.shape[1] // expected.shape[0]
    close(found[0, ::step, ::stride, ::stride], expected, FEATURES, name)


def run_forward(folder: Path, size: str) -> tuple[SemanticSam, Encoded, np.lib.npyio.NpzFile]:
    """Compare every part with its record; return what clicks are answered from."""
    recorded = np.load(folder / f"expected_{size}.npz")
    network = seeded_network(size)
    pixels = prepare(picture(), HW, CPU)
    assert tuple(pixels.shape[2:]) == tuple(recorded["padded_hw"])
    close(pixels[0, :, ::16, ::16], recorded["input_sub"], 1e-6)
    maps = network.backbone(pixels)
    for level, (found, stride) in enumerate(zip(maps, (8, 4, 2, 1), strict=True), start=2):
        sliced(recorded, f"res{level}", found, stride)
        moments = torch.stack([found.mean(), found.std()])
        close(moments, recorded[f"res{level}_mean_std"], FEATURES)
    decoder = network.sem_seg_head.get_submodule("pixel_decoder")
    inputs = [*maps[1:], maps[-1]]
    for level, (project, stride) in enumerate(zip(decoder.input_proj, (4, 2, 1, 1), strict=True)):
        sliced(recorded, f"proj{level}", project(inputs[level]), stride)
    layers = decoder.transformer.get_submodule("encoder.layers")
    seen: dict[int, torch.Tensor] = {}
    positions = []
    for number, layer in enumerate(layers.children()):
        layer.register_forward_hook(
            lambda _, given, found, number=number: (
                positions.append(given[1]),
                seen.update({number: found}),
            )[0]
        )
    encoded = decoder(maps)
    close(positions[0][0, ::17, ::8], recorded["enc_pos_sub"], FEATURES)
    for number, found in seen.items():
        close(found[0, ::17, ::8], recorded[f"enc_layer{number}_sub"], FEATURES, f"layer {number}")
    for level, (found, stride) in enumerate(
        zip(reversed(encoded.pyramid), (4, 2, 1, 1), strict=True)
    ):
        sliced(recorded, f"ms{level}", found, stride)
    sliced(recorded, "mask_features", encoded.mask_features, 4)
    memory = torch.cat([level.flatten(2).mT for level in encoded.pyramid], 1)
    close(memory[0, ::17, ::8], recorded["dec_memory_sub"], FEATURES)
    return network, encoded, recorded


def run_click(network: SemanticSam, encoded: Encoded, recorded: np.lib.npyio.NpzFile) -> None:
    predictor = network.predictor
    boxes = click_boxes(recorded["one_points"], HW, CPU)
    close(predictor.content(), recorded["one_query"], FEATURES)
    close(logit(boxes).expand(6, -1), recorded["one_ref_unsigmoid"], FEATURES)
    first = logit(boxes).sigmoid().expand(1, 6, 4)
    sine = waves(first[..., [1, 0, 2, 3]] * 2 * np.pi).flatten(-2)
    close(sine[0], recorded["one_query_sine0"], FEATURES)
    close(predictor.decoder.positions(first)[0], recorded["one_query_pos0"], FEATURES)
    tokens, places = predictor.decode(boxes, predictor.project(encoded))
    normed = torch.stack([predictor.decoder_norm(layer[0]) for layer in tokens])
    close(normed, recorded["one_hs"], FEATURES)
    close(torch.stack([place[0] for place in places]), recorded["one_refs"], FEATURES)
    logits, scores = predictor.heads(tokens[-1], encoded.mask_features)
    close(logits[0, :, ::4, ::4], recorded["one_low_logits_sub"], LOGITS)
    close(scores[0], recorded["one_ious"], LOGITS)
    large = torch.nn.functional.interpolate(logits, scale_factor=4, mode="bilinear")
    large = large[0, :, : HW[0], : HW[1]]
    close(large[:, ::10, ::10], recorded["one_logits_sub"], LOGITS)
    same_masks((large > 0).numpy(), recorded["one_masks_packed"])


@torch.inference_mode()
def test_the_small_network_from_picture_to_masks(folder: Path) -> None:
    run_click(*run_forward(folder, "t"))


@pytest.mark.slow
@torch.inference_mode()
def test_the_large_network_from_picture_to_masks(folder: Path) -> None:
    run_click(*run_forward(folder, "l"))


@pytest.fixture(scope="module")
def backend(folder: Path) -> SemanticSamBackend:
    return SemanticSamBackend(network=seeded_network("t"), device=CPU, side=HW[0])


@pytest.fixture(scope="module")
def embedding(backend: SemanticSamBackend):
    return backend.embed(picture())


@pytest.fixture(scope="module")
def recorded(folder: Path) -> np.lib.npyio.NpzFile:
    return np.load(folder / "expected_t.npz")


@pytest.mark.slow
def test_clicks_do_not_see_each_other(backend, embedding, recorded) -> None:
    tokens = np.argsort(LEVEL_TOKEN)  # records are in order of token, answers of level
    logits, scores = backend.click(embedding, recorded["many_points"])
    logits, scores = logits[:, tokens], scores[:, tokens]
    close(scores, recorded["many_alone_ious"], LOGITS)
    low = logits.flatten(0, 1)[:, ::8, ::8]
    close(low, recorded["many_alone_low_logits_sub"], LOGITS)
    assert np.abs(low.numpy() - recorded["many_joint_low_logits_sub"]).max() > 1
    assert np.abs(scores.numpy() - recorded["many_joint_ious"]).max() > 0.5
    for index, point in enumerate(recorded["many_points"]):
        alone, score = backend.click(embedding, point[None])
        close(alone[0, tokens], logits[index].numpy(), 1e-4)
        close(score[0, tokens], scores[index].numpy(), 1e-4)
    found = answer(backend, embedding, recorded["many_points"])
    in_tokens = found.masks.reshape(4, 6, *HW)[:, tokens].reshape(24, *HW)
    same_masks(in_tokens, recorded["many_alone_masks_packed"])
    state = embedding.state
    boxes = click_boxes(recorded["many_points"], HW, CPU)
    history, places = backend.network.predictor.decode(boxes, state.values)
    for at, layer in enumerate((0, 4, 8)):
        normed = backend.network.predictor.decoder_norm(history[layer]).flatten(0, 1)
        close(normed, recorded["many_alone_hs"][at], FEATURES)
        close(places[layer + 1].flatten(0, 1), recorded["many_alone_refs"][at], FEATURES)


@pytest.mark.slow
def test_levels_are_those_of_the_public_code(backend, embedding, recorded) -> None:
    assert recorded["level_tokens"].tolist() == list(LEVEL_TOKEN)
    logits, scores = backend.click(embedding, recorded["one_points"])
    close(scores[0, [0, 2]], recorded["levels_1_3_ious"], LOGITS)
    x, y = recorded["one_points"][0] * HW[::-1] - 0.5
    prompts = Prompts(
        points=np.array([[[x, y]]], np.float32),
        point_labels=np.ones((1, 1), np.int8),
        labels=np.zeros(1, np.int32),
        levels=np.array([[1, 3]], np.int8),
    )
    found = backend.decode(embedding, prompts)
    assert found.level.tolist() == [1, 3]
    dice = np.clip(recorded["levels_1_3_ious"], 0, 1)
    np.testing.assert_allclose(found.scores, dice / (2 - dice), atol=LOGITS)
    masks = unpacked(recorded["one_masks_packed"])[[LEVEL_TOKEN[0], LEVEL_TOKEN[2]]]
    assert (found.masks != masks).mean(axis=(1, 2)).max() <= 1e-4
    close(torch.tensor(found.logits), logits[0, [0, 2]].numpy(), 1e-5)


@pytest.mark.slow
def test_a_grid_before_any_filter(backend, embedding, recorded) -> None:
    found = answer(backend, embedding, recorded["grid_points"])
    np.testing.assert_allclose(found.scores.reshape(9, 6), recorded["grid_alone_ious"], atol=LOGITS)
    np.testing.assert_allclose(
        found.stability.reshape(9, 6), recorded["grid_alone_stability"], atol=LOGITS
    )
    areas = found.masks.sum(axis=(1, 2)).reshape(9, 6)
    assert np.abs(areas - recorded["grid_alone_area"]).max() <= 1e-4 * HW[0] * HW[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("all", (1, 2, 3, 4, 5, 6)),
        ("level3", (3,)),
        ("level13", (1, 3)),
    ],
)
def test_the_generator(backend, embedding, recorded, name: str, levels: tuple[int, ...]) -> None:
    found: Answers = generate(
        backend,
        embedding,
        recorded["grid_points"],
        levels=levels,
        min_score=0.4,
        min_stability=0.5,
    )
    expected = {
        key: recorded[f"auto_{name}_alone_{key}"]
        for key in ("iou", "stability", "point", "area", "masks_packed")
    }
    order = np.argsort(-expected["iou"], kind="stable")
    np.testing.assert_allclose(found.scores, expected["iou"][order], atol=LOGITS)
    np.testing.assert_allclose(found.stability, expected["stability"][order], atol=LOGITS)
    np.testing.assert_allclose(
        recorded["grid_points"][found.click], expected["point"][order, :2], atol=1e-6
    )
    same_masks(found.masks, expected["masks_packed"][order])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a", "b"])
def test_the_predictor(backend, embedding, recorded, name: str) -> None:
    found = answer(backend, embedding, recorded[f"predictor_{name}_point"])
    masks, kept = predict(found)
    rounded = [round(float(found.scores[index]), 2) for index in kept]
    np.testing.assert_allclose(rounded, recorded[f"predictor_{name}_text"], atol=0.0101)
    same_masks(masks, recorded[f"predictor_{name}_masks_packed"])
    areas = found.masks[kept].sum(axis=(1, 2))
    assert np.argsort(areas).tolist() == recorded[f"predictor_{name}_by_area"].tolist()


@pytest.mark.slow
def test_where_all_fail_the_best_is_kept_and_not_the_worst(backend, embedding, recorded) -> None:
    found = answer(backend, embedding, recorded["predictor_strict_point"])
    _, kept = predict(found, min_score=9)
    assert kept == [int(found.scores.argmax())]
    assert round(float(found.scores[kept[0]]), 2) > recorded["predictor_strict_text"][0]


def test_positions_and_centres_lie_row_by_row() -> None:
    assert cell_centres(2, 4, CPU)[5].tolist() == [0.375, 0.75]
    assert grid_positions(2, 4, CPU).shape == (8, 256)
