"""Training, piece by piece: decoder, crops, prompts, degraded masks, objective."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch

from tests.small_sam import seed_weights
from uosam.backends.sam.tiny import DETAIL, SIDE, STRIDE, WIDTH, build_sam_tiny
from uosam.errors import ConfigError, InputError
from uosam.labels import iou
from uosam.structures import IGNORE
from uosam.training.data.batches import Batch, Batches, Key, _draw_scale
from uosam.training.data.degradation import deform, imitate_coarse, oversized, partial
from uosam.training.data.objects import Asked, draw_masked_objects, draw_plain_objects
from uosam.training.data.pictures import decode_picture, draw_maps, find_training_pictures
from uosam.training.data.prompting import Pattern, draw_pattern, draw_points, mask_prompt
from uosam.training.decoding import decode_rows, encode_points, show_detail
from uosam.training.objective import objective
from uosam.training.options import TrainOptions
from uosam.training.step import correction, run_step


@pytest.fixture(scope="module")
def tiny():
    return seed_weights(build_sam_tiny()).eval()


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("points", [0, 1, 3])
def test_rows_are_answered_as_by_the_decoder_itself(tiny, points, boxes, masks):
    if not (points or boxes or masks):
        pytest.skip("a row without any prompt asks nothing")
    generator = torch.Generator().manual_seed(1)
    grid = SIDE // STRIDE
    encoded = torch.randn(1, WIDTH + 16 * DETAIL, grid, grid, generator=generator)
    whole = torch.tensor([True, False]) & masks
    xy = torch.rand(2, points, 2, generator=generator) * SIDE
    inside = torch.randint(0, 2, (2, points), generator=generator)
    corners = torch.tensor([[10.0, 20.0, 100.0, 200.0], [300.0, 40.0, 480.0, 90.0]])
    logits = 4 * torch.randn(2, 4 * grid, 4 * grid, generator=generator) if masks else None
    encoder = tiny.prompt_encoder
    with torch.no_grad():
        sparse, dense = encoder(
            points=(xy, inside) if points else None,
            boxes=corners if boxes else None,
            masks=None if logits is None else logits[:, None],
        )
        dense = dense + whole[:, None, None, None] * encoder.whole.weight[:, :, None, None]
        expected = tiny.mask_decoder.predict_masks(encoded, encoder.get_dense_pe(), sparse, dense)
        all_points, all_labels = [xy], [inside]
        if boxes:
            all_points.append(corners.view(2, 2, 2))
            all_labels.append(torch.tensor([[2, 3], [2, 3]]))
        elif points:
            all_points.append(torch.zeros(2, 1, 2))
            all_labels.append(torch.full((2, 1), -1))
        mine = encode_points(tiny, torch.cat(all_points, 1), torch.cat(all_labels, 1), SIDE)
        places = encoder.get_dense_pe().expand(2, -1, -1, -1)
        features, detail = (value.repeat_interleave(2, 0) for value in show_detail(tiny, encoded))
        actual = decode_rows(tiny, features, places, mine, logits, whole, detail)
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-4)


def test_the_encoder_has_the_stride_it_says():
    with torch.no_grad():
        features = build_sam_tiny().eval().image_encoder(torch.zeros(1, 3, 64, 96))
    assert features.shape == (1, WIDTH + 16 * DETAIL, 64 // STRIDE, 96 // STRIDE)


def test_the_model_is_small_enough_to_ship():
    assert sum(value.numel() for value in build_sam_tiny().state_dict().values()) * 2 < 12e6


def test_a_batch_depends_on_seed_and_step_alone(training_data):
    options = TrainOptions(side=64, final_side=96, pictures=2, prompts=3, steps=10)
    first, again = Batches(training_data, options), Batches(training_data, options)
    again[Key(0, False)]
    for key in (Key(1, False), Key(9, True)):
        for field in fields(Batch):
            mine, other = (getattr(batches[key], field.name) for batches in (first, again))
            if isinstance(mine, torch.Tensor):
                assert torch.equal(mine, other), field.name
            else:
                assert mine == other
    assert first[Key(1, False)].images.shape == (2, 64, 64, 3)
    assert first[Key(9, True)].images.shape == (4, 96, 96, 3)
    assert not torch.equal(first[Key(1, False)].images, first[Key(2, False)].images)
    kept = Batches(training_data, replace(options, preload=True))
    assert torch.equal(kept[Key(1, False)].images, first[Key(1, False)].images)


def test_crops_and_their_rows_agree(training_data):
    batches = Batches(training_data, TrainOptions(side=96, pictures=2, prompts=2, mask_share=1.0))
    for step in range(4):
        batch = batches[Key(step, False)]
        assert len(batch.targets) == len(batch.labels) == 4
        assert batch.masks is not None
        for row in range(4):
            target, mask = batch.targets[row] > 127, batch.masks[row] > 0
            # What is asked for is what the coarse mask is of.
            assert iou(target.numpy(), mask.numpy()) > (0.05 if batch.whole[row] else 0.15)
            assert not (target & ~batch.inside[row // 2][::2, ::2]).any()


def test_ignored_ids_count_for_nothing(training_data):
    options = TrainOptions(weights={"shapes": 0.0, "camvid": 1.0})
    pictures, probability = find_training_pictures(training_data, options)
    chosen = pictures[int(probability.argmax())]
    assert chosen.image.parent.name == "camvid"
    first, second = draw_maps(chosen, decode_picture(chosen), np.random.default_rng(3))
    assert {tuple(np.unique(labels)) for labels in (first, second)} <= {(IGNORE, 1, 2), (0, 1)}
    unweighted, chance = find_training_pictures(training_data, TrainOptions(weights={}))
    assert chance == pytest.approx([1 / 4] * len(unweighted))


def test_bad_training_folders_are_one_line(tmp_path, training_data):
    with pytest.raises(InputError, match="must be a folder of sources, found nothing"):
        find_training_pictures(tmp_path / "none", TrainOptions())
    with pytest.raises(InputError, match=r"must hold SOURCE/NAME.jpg"):
        find_training_pictures(tmp_path, TrainOptions())
    pictures, _ = find_training_pictures(training_data, TrainOptions())
    small = tmp_path / "0.png"
    cv2.imwrite(str(small), np.zeros((3, 3), np.uint8))
    for path, found in ((small, r"\(3, 3\)"), (tmp_path / "no.png", "a damaged file")):
        wrong = type(pictures[0])(image=pictures[0].image, maps=(path,), ignored=())
        with pytest.raises(InputError, match=f"region map of 96 x 128 ids, got {found}"):
            decode_picture(wrong)


def test_deformed_masks_stay_near_their_object():
    mask = np.zeros((128, 128), bool)
    cv2.circle(canvas := np.zeros((128, 128), np.uint8), (60, 70), 35, 1, cv2.FILLED)
    mask = canvas > 0
    overlaps = [iou(deform(mask, np.random.default_rng(seed)), mask) for seed in range(30)]
    assert min(overlaps) > 0.2
    assert 0.6 < np.mean(overlaps) < 0.95


def test_imitated_maps_are_blocky_where_classes_meet():
    target = np.zeros((128, 128), np.int32)
    target[:, 70:] = 3
    coarse = imitate_coarse(target, np.random.default_rng(0), noise=0.0)
    assert set(np.unique(coarse)) == {0, 3}
    # Without noise the outline is the level line of the averaged class: straight, within a cell.
    edges = (coarse[:, 1:] != coarse[:, :-1]).argmax(axis=1)
    assert np.ptp(edges) == 0
    assert abs(edges[0] - 69) < 16


@pytest.mark.parametrize(
    "pattern",
    [
        Pattern(inside=1, box=True, mask=True),
        Pattern(inside=2, outside=2),
        Pattern(inside=1),
        Pattern(box=True),
        Pattern(mask=True),
    ],
)
def test_points_lie_where_their_label_says(pattern):
    canvas = np.zeros((96, 96), np.uint8)
    cv2.circle(canvas, (40, 50), 20, 1, cv2.FILLED)
    target = canvas > 0
    for seed in range(10):
        asked = Asked(target=target, coarse=target)
        points, labels = draw_points(asked, pattern, np.random.default_rng(seed))
        assert (labels == 1).sum() == pattern.inside
        assert (labels == 0).sum() == pattern.outside
        assert (labels >= 2).sum() == 2 * pattern.box
        assert (labels == -1).sum() == (bool(pattern.inside) and not pattern.box)
        for (x, y), label in zip(points, labels, strict=True):
            if label in (0, 1):
                assert target[int(y), int(x)] == label
            elif label >= 2:
                corner = (20, 30) if label == 2 else (60, 70)
                assert np.abs(np.array([x, y]) - corner).max() <= 0.08 * 40 + 1e-3


def test_patterns_follow_the_share_of_masks():
    patterns = [draw_pattern(np.random.default_rng(seed), 0.6) for seed in range(600)]
    share = np.mean([pattern.mask for pattern in patterns])
    assert share == pytest.approx(0.6, abs=0.06)
    assert any(pattern.ambiguous for pattern in patterns)
    assert not any(pattern.ambiguous and pattern.mask for pattern in patterns)
    assert all(p.inside or p.box or p.mask for p in patterns)


def test_parts_of_a_class_are_objects_of_their_own():
    labels = np.zeros((128, 128), np.int32)
    labels[20:60, 8:48] = 1
    labels[70:110, 80:120] = 1
    found = []
    for seed in range(20):
        found += draw((labels, labels), seed)
    assert found
    single = {tuple(np.argwhere(asked.target).mean(0).round()) for asked in found}
    assert {(40.0, 28.0), (90.0, 100.0)} <= single  # centres of the two squares


def test_a_crop_without_objects_has_none():
    nothing = np.full((64, 64), IGNORE, np.int32)
    assert draw((nothing, nothing), 0) == []
    plain = draw_plain_objects((nothing, nothing), np.random.default_rng(0), 4, background=None)
    assert plain == []


def test_mask_prompts_are_bounded_and_on_the_right_side():
    mask = np.zeros((64, 64), bool)
    mask[16:48, 8:40] = True
    for seed in range(20):
        logits = mask_prompt(mask, np.random.default_rng(seed), 8.0, 32.0)
        assert logits.shape == (32, 32)
        assert np.abs(logits).max() <= 8.0 + 1e-5
        # Deep inside and far outside there is no doubt about the sign.
        assert logits[16, 12] > 0
        assert logits[0, 31] < 0


def test_the_objective_is_what_its_formula_says():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (2, 4, 6, 6)).astype(np.float32)
    scores = generator.uniform(0, 1, (2, 4)).astype(np.float32)
    targets = (generator.random((2, 6, 6)) > 0.5).astype(np.float32)
    known = (generator.random((2, 6, 6)) > 0.1).astype(np.float32)
    total, overlaps = 0.0, np.zeros((2, 4))
    single, three, unused, squares = [], [], [], []
    for row in range(2):
        each = []
        # In a window of nine cells over six every cell sees both sides, so all are near an outline.
        weight = 4 * known[row]
        for mask in range(4):
            p = 1 / (1 + np.exp(-logits[row, mask].astype(np.float64)))
            t = targets[row]
            entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p))
            entropy = (entropy * weight).sum() / weight.sum()
            dice = 1 - (2 * (p * t * known[row]).sum() + 1) / (((p + t) * known[row]).sum() + 1)
            each.append(2 * entropy + dice)
            a, b = (logits[row, mask] > 0) & (known[row] > 0), (t > 0.5) & (known[row] > 0)
            overlaps[row, mask] = (a & b).sum() / (a | b).sum()
        single.append(each[0])
        three.append(min(each[1:]))
        unused.append(np.mean(each[1:]))
        squares.append((scores[row] - overlaps[row]) ** 2)
    for ambiguous, share in ((False, 1.0), (True, 0.3)):
        total = np.mean(three) + 0.05 * np.mean(unused) + share * np.mean(single) + np.mean(squares)
        loss = objective(
            torch.from_numpy(logits),
            torch.from_numpy(scores),
            torch.from_numpy(targets),
            torch.from_numpy(known),
            ambiguous=ambiguous,
        )
        assert loss.total.item() == pytest.approx(total, rel=1e-4)
    best = scores[:, 1:].argmax(1) + 1
    assert loss.chosen.numpy() == pytest.approx(overlaps[[0, 1], best])
    assert loss.single.numpy() == pytest.approx(overlaps[:, 0])


def test_corrections_lie_in_the_error_and_carry_the_truth():
    targets = torch.zeros(1, 32, 32)
    targets[0, 8:24, 8:24] = 1
    masks = torch.full((1, 32, 32), -1.0)
    masks[0, 8:24, 8:16] = 1  # the right half of the object is missing
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        where, label = correction(masks, targets, torch.ones(1, 32, 32), generator)
        x, y = where[0].tolist()
        assert 32 <= x < 48
        assert 16 <= y < 48
        assert label.item() == 1


def test_what_a_crop_does_not_know_teaches_nothing(training_data):
    options = TrainOptions(side=64, pictures=1, prompts=2, final_share=0)
    batch = Batches(training_data, options)[Key(0, False)]
    sam = seed_weights(build_sam_tiny()).train()
    values = []
    for change in (0, 255):
        other = Batch(**{f.name: getattr(batch, f.name) for f in fields(Batch)})
        other.known[:, 20:] = 0
        other.targets[:, 25:] = change
        loss, second = run_step(sam, other, iterate=0.0, seed=0, autocast=False)
        assert second is None
        # Near the border of what is known the window that finds outlines looks across it.
        values.append(loss.total.item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0),
        ("side", 100),
        ("decay", 1.5),
        ("warmup", -1),
        ("learning_rate", 0.0),
        ("minutes", -1.0),
        ("partial_share", 2.0),
    ],
)
def test_options_are_checked(field, value):
    with pytest.raises(ConfigError, match=f"train.{field} must be"):
        TrainOptions(**{field: value})


def test_a_class_of_specks_is_one_object():
    labels = np.zeros((128, 128), np.int32)
    for top in range(8, 120, 28):
        for left in range(8, 120, 28):
            labels[top : top + 16, left : left + 16] = 1
    found = [pair for seed in range(6) for pair in draw((labels, labels), seed, stride=4)]
    assert any(np.array_equal(asked.target, labels == 1) for asked in found)


def test_masks_of_parts_and_too_large_ones_ask_for_the_whole():
    labels = np.zeros((128, 128), np.int32)
    cv2.circle(canvas := np.zeros((128, 128), np.uint8), (60, 70), 35, 1, cv2.FILLED)
    labels[canvas > 0] = 1
    found = [
        asked
        for seed in range(20)
        for asked in draw((labels, labels), seed, share=1.0, background=0)
    ]
    # What cannot be made of an object is made up for with whole ones.
    assert np.mean([asked.whole for asked in found]) > 0.9
    assert all(np.array_equal(asked.target, labels == 1) for asked in found)
    faithful = [asked for seed in range(20) for asked in draw((labels, labels), seed, share=0.0)]
    assert 0 < np.mean([asked.whole for asked in faithful]) < 0.5


def test_partial_masks_hold_part_of_the_object_and_oversized_ones_all_of_it():
    cv2.circle(canvas := np.zeros((128, 128), np.uint8), (60, 70), 30, 1, cv2.FILLED)
    mask = canvas > 0
    for seed in range(20):
        part = partial(mask, np.random.default_rng(seed))
        assert 0.15 < np.count_nonzero(part & mask) / np.count_nonzero(mask) < 0.8
        large = oversized(mask, np.random.default_rng(seed))
        assert np.count_nonzero(large) > 1.15 * np.count_nonzero(mask)


def test_the_background_is_seldom_asked_for():
    labels = np.zeros((128, 128), np.int32)
    labels[30:90, 30:90] = 1
    shares = []
    for background in (0, None):
        found = [
            asked
            for seed in range(40)
            for asked in draw((labels, labels), seed, background=background)
        ]
        shares.append(np.mean([asked.target[0, 0] for asked in found]))
    assert shares[0] < 0.6 * shares[1]


def test_a_click_has_the_other_map_as_a_second_answer():
    coarse, fine = np.zeros((2, 96, 96), np.int32)
    coarse[20:70, 20:70] = 1
    fine[20:70, 20:45] = 1
    fine[20:70, 45:70] = 2
    for seed in range(10):
        generator = np.random.default_rng(seed)
        for asked in draw_plain_objects((coarse, fine), generator, 3, background=0):
            if asked.target[0, 0]:
                continue
            assert asked.other is not None
            assert not np.array_equal(asked.other, asked.target)
            points, _ = draw_points(asked, Pattern(inside=1), generator)
            x, y = points[0].astype(int)
            assert asked.target[y, x]
            assert asked.other[y, x]


def test_masks_are_judged_by_both_right_answers():
    first, second = torch.zeros(2, 1, 16, 16)
    first[0, 4:12, 4:12] = 1
    second[0, 2:14, 2:14] = 1
    logits = torch.stack([first, first, second, first], dim=1) * 20 - 10
    known, sure = torch.ones(1, 16, 16), torch.ones(1, 4)
    both = objective(logits, sure, first, known, others=second, ambiguous=True)
    alone = objective(logits, sure, first, known, ambiguous=True)
    # The mask of the other answer is as good as the others, unless only this one counts.
    assert both.error.item() == pytest.approx(0.0, abs=1e-6)
    assert alone.error.item() > 0.1
    # A model that has only this answer pays for the one it lacks.
    only = torch.stack([first] * 4, dim=1) * 20 - 10
    lacking = objective(only, sure, first, known, others=second, ambiguous=True)
    assert lacking.total > both.total


@pytest.mark.parametrize("hw", [(161, 352), (352, 352), (1200, 900), (40, 60)])
@pytest.mark.parametrize("side", [64, 256, 512])
def test_crops_of_pictures_of_any_size_have_a_scale(hw, side):
    scales = [_draw_scale(hw, side, np.random.default_rng(seed)) for seed in range(20)]
    whole = side / max(hw)
    assert min(scales) >= 0.95 * whole * (1 - 1e-9)
    assert max(scales) <= max(1.25, 1.4 * whole)


def test_pictures_smaller_than_the_crop_are_cropped(training_data):
    options = TrainOptions(final_side=512, final_pictures=1, prompts=2)
    assert Batches(training_data, options)[Key(0, True)].images.shape == (1, 512, 512, 3)


def draw(maps, seed, *, stride=8, share=0.3, background=None):
    return draw_masked_objects(
        maps,
        np.random.default_rng(seed),
        4,
        stride=stride,
        partial_share=share,
        background=background,
    )
