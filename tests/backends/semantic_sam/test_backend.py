"""The contract of a backend, and how prompts choose among the masks of clicks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.golden_semantic_sam import picture, small_network
from uosam.backends import BackendOptions
from uosam.backends.semantic_sam.backend import SemanticSamBackend, load
from uosam.backends.semantic_sam.choice import (
    Candidates,
    box_likeness,
    choose,
    mask_likeness,
)
from uosam.backends.semantic_sam.input import enlarge, padded_hw
from uosam.backends.semantic_sam.published import clean
from uosam.backends.weights.cache import EmbeddingCache, on_cpu, remember
from uosam.errors import BackendError, ConfigError, InputError
from uosam.structures import Embedding, Prompts

CPU = torch.device("cpu")
EVERY = np.arange(1, 7, dtype=np.int8)


@pytest.fixture(scope="module")
def backend() -> SemanticSamBackend:
    torch.set_num_threads(1)
    return SemanticSamBackend(network=small_network(), device=CPU, side=96)


@pytest.fixture(scope="module")
def embedding(backend: SemanticSamBackend) -> Embedding:
    return backend.embed(picture(120, 170))


def ask(points, labels=None, **others) -> Prompts:
    xy = np.array(points, np.float32)
    labels = np.ones(xy.shape[:2]) if labels is None else labels
    return Prompts(
        points=xy,
        point_labels=np.array(labels, np.int8),
        labels=np.zeros(len(xy), np.int32),
        **others,
    )


@pytest.mark.parametrize(
    "hw", [(120, 170), (170, 120), (64, 64), (1, 1), (20, 900), (900, 20), (97, 33)]
)
def test_shapes_and_types_for_every_size(backend: SemanticSamBackend, hw) -> None:
    embedding = backend.embed(picture(max(2, hw[0]), max(2, hw[1]))[: hw[0], : hw[1]])
    last = [hw[1] - 1, hw[0] - 1]
    found = backend.decode(embedding, ask([[last]], levels=EVERY[None]))
    assert found.level.tolist() == EVERY.tolist()
    assert found.masks.shape == (6, *hw)
    assert found.masks.dtype == bool
    assert found.logits.shape == (6, *embedding.logits_hw)
    assert found.logits.dtype == found.scores.dtype == found.stability.dtype == np.float32
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert ((found.stability >= 0) & (found.stability <= 1)).all()
    rows, cols = embedding.extent
    assert 0 < rows <= embedding.features.shape[1]
    assert 0 < cols <= embedding.features.shape[2]


@pytest.mark.parametrize("levels", [None, np.array([[1, 4], [3, 0], [2, 6]], np.int8)])
def test_a_batch_equals_its_rows(backend, embedding, levels) -> None:
    points = [[[20, 30], [90, 60]], [[100, 100], [0, 0]], [[60, 10], [5, 100]]]
    asked = ask(points, [[1, 0], [1, -1], [1, 1]], levels=levels)
    whole = backend.decode(embedding, asked)
    backend.embed(picture(64, 64))
    for row in range(3):
        one = ask(
            points[row : row + 1],
            asked.point_labels[row : row + 1],
            levels=None if levels is None else levels[row : row + 1],
        )
        alone = backend.decode(embedding, one)
        mine = whole.row == row
        assert alone.level.tolist() == whole.level[mine].tolist()
        np.testing.assert_allclose(alone.logits, whole.logits[mine], atol=1e-4)
        np.testing.assert_allclose(alone.scores, whole.scores[mine], atol=1e-5)
        assert (alone.masks != whole.masks[mine]).sum() < 20


def test_padding_of_points_changes_nothing(backend, embedding) -> None:
    plain = backend.decode(embedding, ask([[[20, 30]]]))
    padded = backend.decode(embedding, ask([[[0, 0], [20, 30]]], [[-1, 1]]))
    assert np.array_equal(plain.logits, padded.logits)


def test_scores_are_ious_and_thresholds_hold(backend, embedding) -> None:
    asked = ask([[[20, 30]], [[100, 60]]], levels=np.tile(EVERY, (2, 1)))
    every = backend.decode(embedding, asked)
    _, raw = backend.click(embedding, (asked.points[:, 0] + 0.5) / (170, 120))
    dice = raw.numpy().flatten().clip(0, 1)
    np.testing.assert_allclose(every.scores, dice / (2 - dice), atol=1e-6)
    middle = float(np.median(every.scores))
    good = backend.decode(embedding, asked, min_score=middle)
    assert np.array_equal(good.logits, every.logits[every.scores >= middle])
    assert len(backend.decode(embedding, asked, min_stability=1.01)) == 0


def test_without_levels_the_best_three_differ_and_the_single_one_is_the_best(
    backend, embedding
) -> None:
    asked = ask([[[20, 30]], [[100, 60]]])
    every = backend.decode(embedding, replace(asked, levels=np.tile(EVERY, (2, 1))))
    three = backend.decode(embedding, asked)
    single = backend.decode(embedding, asked, multimask=False)
    assert single.row.tolist() == [0, 1]
    for row in range(2):
        best = every.scores[every.row == row].max()
        mine = three.scores[three.row == row]
        assert mine[0] == single.scores[row] == best
        assert 1 <= len(mine) <= 3
        assert (np.diff(mine) <= 0).all()
        assert (three.level[three.row == row] > 0).all()


def test_the_order_of_areas_never_jumps_back(backend, embedding) -> None:
    by_area = replace(backend, order="area")
    asked = ask([[[20, 30]], [[100, 60]], [[150, 110]]], levels=np.tile(EVERY, (3, 1)))
    tokens, areas = backend.decode(embedding, asked), by_area.decode(embedding, asked)
    rows, cols = (round(4 * side) for side in embedding.extent)
    for row in range(3):
        mine = (areas.logits[areas.row == row, :rows, :cols] > 0).sum(axis=(1, 2))
        assert (np.diff(mine) <= 0).all()
        assert sorted(areas.scores[areas.row == row]) == sorted(tokens.scores[tokens.row == row])
    assert areas.scores.tolist() != tokens.scores.tolist()


def test_points_outside_and_boxes_and_masks_choose(backend, embedding) -> None:
    asked = ask([[[60, 60]]], levels=EVERY[None])
    every = backend.decode(embedding, asked)
    held = every.masks.reshape(6, -1)
    flips = np.flatnonzero(held.any(0) & ~held.all(0))
    y, x = np.unravel_index(int(flips[len(flips) // 2]), (120, 170))
    against = ask([[[60, 60], [x, y]]], [[1, 0]], levels=EVERY[None])
    left = backend.decode(embedding, against)
    assert 0 < len(left) < 6
    assert np.array_equal(left.level, EVERY[~every.masks[:, y, x]])
    rows, cols = (round(4 * side) for side in embedding.extent)
    small = every.logits[:, :rows, :cols] > 0
    picked = set()
    for asked_for in range(6):
        like = ask([[[60, 60]]], logits=every.logits[[asked_for]])
        found = backend.decode(embedding, like, multimask=False)
        value = every.scores * mask_likeness(small, small[asked_for])
        assert found.level.tolist() == [int(value.argmax()) + 1]
        picked |= set(found.level.tolist())
    assert len(picked) > 1


@pytest.mark.parametrize("kind", ["box", "mask", "faint"])
def test_a_row_without_a_point_inside_is_clicked_for(backend, embedding, kind) -> None:
    others: dict[str, np.ndarray] = {}
    if kind == "box":
        others["boxes"] = np.array([[40, 20, 80, 60]], np.float32)
        expected = [60, 40]
    else:
        grid = np.full((1, *embedding.logits_hw), -9, np.float32)
        grid[0, 10:15, 10:15] = 5 if kind == "mask" else -8
        grid[0, 12, 12] += 1
        others["logits"] = grid
        # Cell (12, 12) of 4 pixels of the network's input, whose short side is 96.
        expected = [12.5 * 4 * 120 / 96 - 0.5] * 2
    found = backend.decode(embedding, ask([[[0, 0]]], [[-1]], levels=EVERY[None], **others))
    clicked = backend.decode(embedding, ask([[expected]], levels=EVERY[None]))
    np.testing.assert_allclose(found.logits, clicked.logits, atol=2e-2)


def test_points_outside_alone_have_no_answer(backend, embedding) -> None:
    asked = ask([[[60, 60]], [[60, 60]]], [[0], [1]])
    assert set(backend.decode(embedding, asked).row.tolist()) == {1}


def test_a_further_click_needs_no_projection(backend) -> None:
    embedding = backend.embed(picture(64, 64))
    assert embedding.state.values is None
    backend.decode(embedding, ask([[[20, 30]]]))
    kept = embedding.state.values
    backend.decode(embedding, ask([[[40, 30]]]))
    assert embedding.state.values is kept


def test_the_cache_of_embeddings_gives_the_same_to_the_bit(tmp_path) -> None:
    backend = SemanticSamBackend(network=small_network(), device=CPU, side=64)
    assert on_cpu(backend)
    first = backend.embed(picture(64, 64))
    options = BackendOptions(name="tests.fakes:load")
    assert remember(backend, options, EmbeddingCache(folder=tmp_path, max_bytes=10**9))
    written, again = backend.embed(picture(64, 64)), backend.embed(picture(64, 64))
    assert len(list(tmp_path.iterdir())) == 1
    for other in (written, again):
        assert np.array_equal(first.features, other.features)
        asked = ask([[[20, 30]]])
        found, expected = backend.decode(other, asked), backend.decode(first, asked)
        assert np.array_equal(found.logits, expected.logits)


def test_what_cannot_be_answered_is_one_line(backend, embedding) -> None:
    with pytest.raises(InputError, match="made by embed of Semantic-SAM"):
        backend.decode(replace(embedding, state=None), ask([[[1, 1]]]))
    with pytest.raises(InputError, match="has levels 1 to 6, got 7"):
        backend.decode(embedding, ask([[[1, 1]]], levels=np.array([[7]], np.int8)))
    with pytest.raises(InputError, match=r"Prompts\.logits must be"):
        backend.decode(embedding, ask([[[1, 1]]], logits=np.zeros((1, 3, 3), np.float32)))
    with pytest.raises(InputError, match="must be"):
        backend.embed(np.zeros((4, 4), np.uint8))
    with pytest.raises(ConfigError, match="unknown Semantic-SAM model 'semantic_sam_x'"):
        load(BackendOptions(name="semantic_sam_x"))
    with pytest.raises(ConfigError, match=r"backend\.side must be at least 32"):
        BackendOptions(side=31)


def test_too_little_memory_is_said(backend, monkeypatch) -> None:
    def fail(pixels: object) -> None:
        raise RuntimeError("CUDA out of memory")

    network = small_network()
    monkeypatch.setattr(network, "get_image_embeddings", fail)
    with pytest.raises(BackendError, match="not enough memory on cpu to encode one picture"):
        replace(backend, network=network).embed(picture(64, 64))

    def break_down(pixels: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(network, "get_image_embeddings", break_down)
    with pytest.raises(RuntimeError, match="something else"):
        replace(backend, network=network).embed(picture(64, 64))


def test_bfloat16_stays_near(backend, embedding) -> None:
    rough = replace(backend, autocast=True).embed(picture(120, 170))
    error = np.abs(rough.features - embedding.features)
    assert 0 < error.mean() < 0.05


@pytest.mark.parametrize(("hw", "image_hw"), [((96, 136), (120, 170)), ((96, 133), (96, 133))])
def test_masks_are_enlarged_in_one_step(hw, image_hw) -> None:
    height, width = padded_hw(hw)
    grid = torch.randn(2, 1, height // 4, width // 4, generator=torch.Generator().manual_seed(0))
    found = enlarge(grid, hw, image_hw)
    y, x = (
        (torch.arange(own) + 0.5) / own * entered / whole * 2 - 1
        for own, entered, whole in zip(image_hw, hw, (height, width), strict=True)
    )
    places = torch.stack(torch.broadcast_tensors(x[None], y[:, None]), -1)
    exact = F.grid_sample(
        grid, places.expand(2, -1, -1, -1), align_corners=False, padding_mode="border"
    )
    np.testing.assert_allclose(found, exact, atol=1e-4)
    if hw == image_hw:
        whole = F.interpolate(grid, (height, width), mode="bilinear")
        np.testing.assert_allclose(found, whole[..., : hw[0], : hw[1]], atol=1e-5)


def candidates(value, level, hits, masks=None) -> Candidates:
    masks = np.eye(len(value), dtype=bool) if masks is None else np.array(masks, bool)
    return Candidates(
        value=np.array(value, np.float32),
        level=np.array(level, np.int8),
        hits=np.array(hits),
        masks=masks,
    )


def test_choosing() -> None:
    plain = candidates([0.5, 0.9, 0.9, 0.1], [4, 2, 1, 3], [0, 0, 0, 0])
    assert choose(plain, None) == [2, 1, 0]
    assert choose(plain, None, 1) == [2]
    assert choose(plain, [1, 3, 5]) == [2, 3]
    assert choose(candidates([0.5, 0.9], [1, 2], [0, 1]), None) == [0]
    assert choose(candidates([0.5, 0.9], [1, 2], [0, 1]), [2]) == []
    assert choose(candidates([0.5, 0.9, 0.7], [1, 2, 3], [2, 1, 1]), None) == [1, 2]
    alike = candidates([0.5, 0.9], [1, 2], [0, 0], [[1, 1], [1, 1]])
    assert choose(alike, None) == [1]
    empty = candidates([0.5, 0.9], [1, 2], [0, 0], [[0, 0], [0, 0]])
    assert choose(empty, None) == [1]


def test_likeness() -> None:
    masks = np.zeros((2, 6, 6), bool)
    masks[0, 1:3, 2:5] = True
    assert box_likeness(masks, [2, 1, 5, 3]).tolist() == [1, 0]
    assert box_likeness(masks, [2, 1, 5, 4]).tolist() == [pytest.approx(2 / 3), 0]
    assert box_likeness(masks, [5, 5, 6, 6]).tolist() == [0, 0]
    asked = np.zeros((6, 6), bool)
    asked[1:3, 2:4] = True
    assert mask_likeness(masks, asked).tolist() == [pytest.approx(2 / 3), 0]


def test_cleaning_fills_holes_and_drops_parts_but_not_the_last() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5, 5] = False
    mask[15:17, 15:17] = True
    cleaned = clean(mask, 4, 10)
    assert cleaned[5, 5]
    assert not cleaned[15:17, 15:17].any()
    assert np.array_equal(clean(mask, 0, 0), mask)
    assert clean(mask, 4, 1000).sum() == 100
    assert not clean(np.zeros((4, 4), bool), 0, 9).any()
