"""Geometry on masks against hand-written arrays and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from segment_anything.utils.amg import remove_small_regions

from uosam.errors import InputError
from uosam.labels import (
    areas,
    box,
    check_label_map,
    check_probabilities,
    components,
    from_logits,
    iou,
    near_distance,
    signed_distance,
    to_grid,
    without_small_regions,
)
from uosam.structures import Embedding

small_masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def embedding(image_hw: tuple[int, int], extent: tuple[float, float]) -> Embedding:
    return Embedding(features=np.zeros((1, 8, 8), np.float32), extent=extent, image_hw=image_hw)


@given(small_masks)
def test_signed_distance_is_that_of_brute_force(mask: np.ndarray) -> None:
    found = signed_distance(mask)
    inside, outside = np.argwhere(mask), np.argwhere(~mask)
    for y, x in np.ndindex(mask.shape):
        others = outside if mask[y, x] else inside
        expected = np.inf
        if len(others):
            expected = np.sqrt(((others - [y, x]) ** 2).sum(axis=1).min())
        assert found[y, x] == pytest.approx(expected if mask[y, x] else -expected, rel=1e-4)


@given(small_masks, st.sampled_from([0.5, 1.0, 2.5, 20.0]))
def test_near_distance_is_the_distance_cut_off(mask: np.ndarray, reach: float) -> None:
    placed = np.pad(mask, ((3, 0), (2, 7)))
    expected = np.clip(signed_distance(placed), -reach, reach)
    np.testing.assert_allclose(near_distance(placed, reach), expected, rtol=1e-6)


@given(small_masks)
def test_components_partition_the_mask_and_do_not_touch(mask: np.ndarray) -> None:
    parts = components(mask)
    assert np.array_equal(sum(parts, np.zeros(mask.shape, int)), mask.astype(int))
    assert [p.sum() for p in parts] == sorted((p.sum() for p in parts), reverse=True)
    for first in parts:
        padded = np.pad(first, 1)
        grown = np.zeros(mask.shape, bool)
        for dy in range(3):
            for dx in range(3):
                grown |= padded[dy : dy + mask.shape[0], dx : dx + mask.shape[1]]
        assert not (grown & mask & ~first).any()


def test_box_holds_first_and_last_pixel() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1:4, 2:6] = True
    assert box(mask).tolist() == [2, 1, 5, 3]


def test_an_empty_mask_has_no_box_and_no_overlap() -> None:
    empty = np.zeros((2, 2), bool)
    with pytest.raises(InputError, match="a box needs at least one pixel, got an empty mask"):
        box(empty)
    assert np.isnan(iou(empty, empty))


def test_areas_leave_ignore_out() -> None:
    assert areas(np.array([[3, -1], [3, 900]], np.int32)) == {3: 2, 900: 1}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 6), np.uint8), r"\(H, W\) int32, got \(4, 6\) uint8"),
        (np.zeros((4, 6, 3), np.int32), r"got \(4, 6, 3\) int32"),
        (np.zeros((6, 4), np.int32), r"size of its picture 4 x 6 .* got 6 x 4"),
    ],
)
def test_a_wrong_label_map_is_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_label_map(labels, (4, 6))


def test_to_grid_averages_and_leaves_the_padding_empty() -> None:
    mask = np.zeros((32, 64), bool)
    mask[:, :32] = True
    grid = to_grid(mask, embedding((32, 64), (4.0, 8.0)))
    assert grid.shape == (8, 8)
    assert grid[:4].tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]] * 4
    assert not grid[4:].any()


def test_logits_come_back_to_the_pixels_they_were_made_from() -> None:
    mask = np.zeros((48, 64), bool)
    mask[8:40, 16:48] = True
    place = embedding((48, 64), (6.0, 8.0))
    back = from_logits(to_grid(mask * 2.0 - 1, place, scale=4), place) > 0
    assert iou(back, mask) > 0.95


@given(small_masks, st.integers(0, 12))
def test_small_regions_go_as_from_the_masks_of_sams_generator(mask, least):  # type: ignore[no-untyped-def]
    filled, _ = remove_small_regions(mask, least, "holes")
    expected, _ = remove_small_regions(filled, least, "islands")
    if not filled.any():  # the package needs a component to keep
        expected = filled
    np.testing.assert_array_equal(without_small_regions(mask, least), expected)


def test_the_mask_that_is_cleaned_is_not_written_into() -> None:
    mask = np.array([[1, 0, 1, 1]], bool)
    without_small_regions(mask, 2)
    assert mask.tolist() == [[True, False, True, True]]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.full((2, 1, 2), np.nan), "got nan"),
        (np.full((2, 1, 2), np.inf), "finite and 0 or more"),
        (np.full((2, 1, 2), -1.0), "0 or more, got -1 to -1; apply a softmax"),
        (np.zeros((2, 1, 2)), "zeros everywhere"),
        (np.ones((1, 1, 2)), "a channel for every id up to 1, got 1 channels"),
        (np.ones((2, 2)), r"float class probabilities \(C, h, w\), got \(2, 2\)"),
        (np.ones((2, 1, 2), int), "float class probabilities"),
    ],
)
def test_probabilities_suit_their_labels(scores, said):
    labels = np.array([[0, 1]], np.int32)
    check_probabilities(np.full((2, 4, 4), 0.5), labels)
    with pytest.raises(InputError, match=said):
        check_probabilities(scores, labels)


def test_ids_below_ignore_are_no_ids():
    with pytest.raises(InputError, match="or -1 where nothing is known, got -5"):
        check_label_map(np.array([[0, -5]], np.int32), (1, 2))
