"""Pictures for people, held by what must be true of them rather than by stored pixels."""

from __future__ import annotations

import io

import cv2
import numpy as np
import PIL.Image
import pytest

from tests.conftest import Scene
from uosam.report.overlay import (
    GAP,
    colour,
    draw_before_after,
    draw_labels,
    encode_confidence,
    encode_overlay,
)
from uosam.structures import IGNORE, LabelSpec, Prompts, Refinement


def test_background_is_left_as_photographed(scene: Scene) -> None:
    drawn = draw_labels(scene.image, scene.target)
    ground = scene.target == 0
    away = cv2.erode(ground.astype(np.uint8), np.ones((3, 3))) == 1
    np.testing.assert_array_equal(drawn[away], scene.image[away])
    assert (drawn[~ground] != scene.image[~ground]).any(axis=1).all()
    # Beside an object a pixel has a share of its line, and no more than that.
    assert np.abs(drawn[ground].astype(int) - scene.image[ground]).mean() < 1


@pytest.mark.parametrize("grey", [0, 250])
def test_the_inside_is_tinted_by_the_share_asked_for(grey: int) -> None:
    image = np.full((40, 40, 3), grey, np.uint8)
    drawn = draw_labels(image, np.full((40, 40), 3, np.int32), alpha=0.4)
    expected = 0.6 * grey + 0.4 * colour(3).astype(float)
    np.testing.assert_allclose(drawn, np.broadcast_to(expected, drawn.shape), atol=0.6)


def test_without_background_every_class_is_tinted(scene: Scene) -> None:
    drawn = draw_labels(scene.image, scene.target, background=None)
    assert (drawn != scene.image).any(axis=2).all()


def test_every_object_has_a_white_line_inside_its_edge(scene: Scene) -> None:
    drawn = draw_labels(scene.image, scene.target)
    assert drawn[18, 61:81].min() > 240
    assert drawn[21:47, 58].min() > 240
    assert drawn[20:48, 60:82].min(axis=2).max() < 240


def test_lines_are_anti_aliased() -> None:
    y, x = np.mgrid[:200, :200]
    inside = 60 - np.hypot(y - 100.3, x - 99.8)  # the distance to the edge of a disc, by geometry
    drawn = draw_labels(np.zeros((200, 200, 3), np.uint8), (inside > 0).astype(np.int32))
    line = (inside + 0.5).clip(0, 1) * (1.5 - inside).clip(0, 1)
    white = drawn.min(axis=2) / 255  # of the disc's own colour, one of red, green, blue is 0
    low = colour(1).min() / 255
    expected = line + low * (1 - line) * (inside > 0.5)
    ring = np.abs(inside - 0.5) < 1.5
    assert np.abs(white - expected)[ring].mean() < 0.09
    stairs = (inside > 0) & (cv2.erode((inside > 0).astype(np.uint8), np.ones((3, 3))) == 0)
    assert np.abs(stairs - expected)[ring].mean() > 0.2


def test_maps_of_another_size_are_drawn_where_they_belong() -> None:
    labels = np.zeros((30, 40), np.int32)
    labels[10:20, 20:] = 7
    for hw in ((30, 40), (90, 120), (15, 20), (100, 90)):
        drawn = draw_labels(np.zeros((*hw, 3), np.uint8), labels)
        rows, columns = np.nonzero(drawn.max(axis=2) > 60)
        assert abs(rows.min() - hw[0] / 3) <= 1
        assert abs(rows.max() + 1 - 2 * hw[0] / 3) <= 1
        assert abs(columns.min() - hw[1] / 2) <= 1
        assert columns.max() + 1 == hw[1]


def test_ignored_pixels_are_darkened(scene: Scene) -> None:
    labels = scene.target.copy()
    labels[:5] = IGNORE
    assert draw_labels(scene.image, labels)[:4].mean() < 0.5 * scene.image[:4].mean()


def test_ids_far_beyond_float_precision_have_an_edge() -> None:
    labels = np.full((9, 9), 2**30, np.int32)
    labels[:, 5:] += 1
    drawn = draw_labels(np.zeros((9, 9, 3), np.uint8), labels)
    assert (drawn[:, 4:6] > 230).all()


def test_the_first_forty_colours_are_told_apart() -> None:
    table = np.array([colour(label) for label in range(1, 41)]).astype(int)
    distance = np.abs(table[:, None] - table[None]).sum(axis=-1) + 999 * np.eye(40, dtype=int)
    assert distance.min() > 15
    assert (table.max(axis=1) > 150).all()


@pytest.mark.parametrize("hw", [(1, 1), (1, 300), (64, 96), (700, 20), (600, 800)])
def test_before_and_after_stand_side_by_side(hw: tuple[int, int]) -> None:
    image = np.full((*hw, 3), 90, np.uint8)
    before, after = np.zeros(hw, np.int32), np.ones(hw, np.int32)
    drawn = draw_before_after(image, before, after, names={1: "cat"})
    scale = (drawn.shape[1] - GAP) // (2 * hw[1])
    height, width = hw[0] * scale, hw[1] * scale
    assert drawn.shape[1] == 2 * width + GAP
    assert drawn.shape[0] > height
    assert (drawn[:height, :width] == 90).all()
    assert (drawn[:height, -width:] != 90).any(axis=2).all()


def test_900_classes_do_not_flood_the_key() -> None:
    ids = np.arange(900, dtype=np.int32).reshape(30, 30)
    drawn = draw_before_after(np.zeros((30, 30, 3), np.uint8), ids, ids)
    assert drawn.shape[0] < 30 * 11 + 100


def test_encoded(scene: Scene) -> None:
    confidence = np.linspace(0, 1, 64 * 96, dtype=np.float32).reshape(64, 96)
    result = Refinement(
        labels=scene.target,
        ids=scene.target,
        coarse=scene.coarse,
        image=scene.image,
        local=scene.target,
        confidence=confidence,
        prompts=Prompts(
            points=np.zeros((0, 1, 2), np.float32),
            point_labels=np.zeros((0, 1), np.int8),
            labels=np.zeros(0, np.int32),
        ),
        verdicts=(),
        seconds={},
        spec=LabelSpec(codec="index8"),
    )
    arguments = (scene.image, scene.coarse, result, LabelSpec(codec="index8"))
    with PIL.Image.open(io.BytesIO(encode_overlay(*arguments))) as picture:
        assert picture.format == "JPEG"
        assert picture.size[0] == 2 * 96 * 5 + GAP
    with PIL.Image.open(io.BytesIO(encode_confidence(*arguments))) as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), np.rint(confidence * 255))


def test_large_photographs_become_previews() -> None:
    image = np.zeros((1200, 2400, 3), np.uint8)
    labels = np.zeros((1200, 2400), np.int32)
    labels[600:] = 70_000
    drawn = draw_before_after(image, labels, labels)
    assert drawn.shape[1] == 2 * 2000 + GAP
    assert not drawn[100:450, 100:1900].any()
    assert (drawn[600:900, 100:1900] == drawn[700, 300]).all()
