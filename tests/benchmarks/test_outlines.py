"""Outlines measured: specks and holes against the truth, tables, and mosaics of pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy import Picture
from benchmarks.outlines import fill, holes, object_rows, specks, summarise, table, without_void
from benchmarks.windows import TILE, mosaic
from benchmarks.windows import table as windows_table
from tests.conftest import Scene
from uosam.errors import InputError
from uosam.metrics.contour import outline_length, raggedness
from uosam.structures import IGNORE


def test_an_outline_is_as_long_as_it_looks() -> None:
    y, x = np.ogrid[:200, :200]
    disc = (y - 100) ** 2 + (x - 100) ** 2 < 60**2
    assert outline_length(disc) == pytest.approx(2 * np.pi * 60, rel=0.03)
    half = disc.copy()
    half[:100] = False
    # At the frame of the picture an outline goes on.
    assert outline_length(half[100:]) == pytest.approx(outline_length(half), rel=0.03)
    rough = disc & ~((x // 3 + y // 3) % 2 == 0) | ((y - 100) ** 2 + (x - 100) ** 2 < 55**2)
    assert raggedness(rough, disc) > 1.5
    assert np.isnan(raggedness(disc & False, disc))
    assert np.isnan(raggedness(disc, disc & False))


def test_specks_and_holes_are_those_that_the_truth_has_not() -> None:
    target = np.zeros((20, 20), bool)
    target[5:15, 5:15] = True
    target[9, 9] = False
    pred = target.copy()
    pred[1:3, 1:3] = True  # a speck
    pred[6, 6] = False  # a hole
    assert specks(pred, target) == 1
    assert holes(pred, target) == 1
    assert specks(target, target) == holes(target, target) == 0
    assert specks(target & False, target) == holes(target & False, target) == 0


def test_outlines_go_through_a_border_of_unknown_pixels() -> None:
    target = np.zeros((60, 60), np.int32)
    target[10:50, 10:50] = IGNORE
    target[12:48, 12:48] = 1
    drawn = np.zeros_like(target)
    drawn[11:49, 11:49] = 1
    drawn[2, 2] = 1
    drawn[10, 30] = 1  # within the border, joined to the object
    ((_, score, *boundary, length, extra, inner),) = object_rows(drawn, target, 0)
    assert score == pytest.approx(36**2 / (36**2 + 1))
    assert boundary[0] > 0.9
    assert length == pytest.approx(1, abs=0.05)
    assert (extra, inner) == (1, 0)
    target[10:50, :] = np.where(target[10:50, :] == 0, IGNORE, target[10:50, :])
    (row,) = object_rows(drawn, target, 0)
    assert np.isnan(row[5])  # nobody knows what is around it
    assert (without_void(np.full((2, 2), IGNORE, np.int32)) == IGNORE).all()


def test_a_set_is_summed_up_and_tabled(scene: Scene) -> None:
    target = scene.target.copy()
    target[:2] = IGNORE
    before = [[0, *row] for row in object_rows(scene.coarse, target, 0)]
    after = [[0, *row] for row in object_rows(scene.target, target, 0)]
    assert [row[1] for row in before] == [1, 2]
    assert [row[2:6] for row in after] == [[1.0] * 4] * 2
    numbers = summarise(np.array(before * 2), np.array(after * 2), 1)
    assert numbers["harmed"] == 0
    assert numbers["iou"]["gain"] == pytest.approx(1 - numbers["iou"]["coarse"])
    assert numbers["uosam_outline"]["raggedness"] == pytest.approx(1)
    assert numbers["uosam_outline"]["within_10_percent"] == 1
    worse = summarise(np.array(after * 2), np.array(before * 2), 1)
    lines = table({"better": numbers, "worse": worse}).splitlines()
    assert "| 0 (0.0 %) |" in lines[2]
    assert "| 4 (100.0 %) |" in lines[3]
    assert lines[4].startswith("| **mean of sets** | 8 |")
    assert "| 50.0 % |" in lines[4]
    shown = windows_table({"most=1": worse | {"time": 1.25}})
    assert "| 4 of 4 |" in shown
    assert shown.endswith("| 1.25 times |")
    row = {"masks": "imitated", "result": {"better": numbers}, "cores": 2, "cpu": "CPU"}
    row |= {"commit": "0123456789", "time": "2026-01-02T03", "python": "3.11"}
    page = fill("a\n<!-- outlines: begin -->\nold\n<!-- outlines: end -->\nz\n", [row])
    assert page.startswith("a\n<!-- outlines: begin -->\nMasks: imitated.")
    assert "old" not in page
    assert page.endswith(
        "Commit 0123456, 2026-01-02, Python 3.11, 2 cores, CPU.\n<!-- outlines: end -->\nz\n"
    )
    with pytest.raises(InputError, match=r"docs/outlines.md must hold the lines"):
        fill("a", [row])


def test_a_mosaic_holds_every_object_of_its_tiles_at_its_own_size(scene: Scene) -> None:
    tile = Picture(image=scene.image, coarse=scene.coarse, target=scene.target)
    void = replace(tile, target=np.full_like(scene.target, IGNORE))
    whole = mosaic([tile, tile, tile, void])
    assert whole.image.shape == (2 * TILE, 2 * TILE, 3)
    height, width = scene.target.shape
    for index, (top, left) in enumerate([(0, 0), (0, TILE), (TILE, 0)]):
        quarter = whole.target[top : top + TILE, left : left + TILE]
        for label in (1, 2):
            mine = quarter == label + 1000 * index
            assert np.array_equal(mine[:height, :width], scene.target == label)
            assert mine.sum() == (scene.target == label).sum()
        assert (quarter[height:] == IGNORE).all()
        assert (quarter[:, width:] == IGNORE).all()
    assert (whole.target[TILE:, TILE:] == IGNORE).all()
    # The picture goes on beyond a tile, as a mirror of it; the maps do not.
    assert np.array_equal(whole.image[height, :width], scene.image[-1])
    assert not whole.coarse[height:TILE].any()
