"""Large pictures are refined reduced: what changed is enlarged, the rest keeps its pixels."""

from __future__ import annotations

from time import process_time

import numpy as np
import pytest
from skimage.measure import perimeter

import uosam.stages.size.working_size as module
from tests.fakes import FakeBackend
from uosam.backends import BackendOptions, load_backend
from uosam.errors import ConfigError
from uosam.pipeline import RefineOptions, refine
from uosam.stages.global_region import GlobalRegionOptions
from uosam.stages.local_region import LocalRegionOptions
from uosam.stages.prompts import PromptOptions
from uosam.stages.size.working_size import WorkingSizeOptions, at_working_size
from uosam.structures import IGNORE, Decision, Guide, Prompts

HEIGHT, WIDTH, RADIUS = 750, 1000, 200


def disc(height: int, width: int, cy: float, cx: float, radius: float) -> np.ndarray:
    y, x = np.ogrid[:height, :width]
    return (y - cy) ** 2 + (x - cx) ** 2 < radius**2


TRUTH = disc(HEIGHT, WIDTH, 360, 480, RADIUS)
PHOTO = np.where(TRUTH[..., None], [210, 60, 40], [70, 120, 90]).astype(np.uint8)
COARSE = disc(HEIGHT, WIDTH, 340, 510, RADIUS).astype(np.int32)


def options(longest: int) -> RefineOptions:
    return RefineOptions(
        working_size=WorkingSizeOptions(longest=longest),
        prompts=PromptOptions(mask=False),
        local_region=LocalRegionOptions(cascade=1, min_score=0),
    )


def test_the_default_is_a_size_and_small_ones_are_refused() -> None:
    assert WorkingSizeOptions().longest == 1024
    with pytest.raises(ConfigError, match=r"working_size.longest must be 0 .* at least 256, got 9"):
        WorkingSizeOptions(longest=9)


def test_a_small_picture_passes_as_it_is() -> None:
    view = at_working_size(PHOTO, COARSE, None, WorkingSizeOptions(longest=WIDTH))
    assert view.image is PHOTO
    assert view.coarse is COARSE
    assert not view.reduced
    refined = 1 - COARSE
    assert view.restore_labels(refined) is refined


def test_a_redrawn_object_is_enlarged_with_a_smooth_outline() -> None:
    found = refine(PHOTO, COARSE, FakeBackend(), options(256))
    assert [one.accepted for one in found.verdicts] == [True]
    mask = found.ids == 1
    overlap = np.count_nonzero(mask & TRUTH) / np.count_nonzero(mask | TRUTH)
    before = np.count_nonzero((COARSE == 1) & TRUTH) / np.count_nonzero((COARSE == 1) | TRUTH)
    assert before < 0.8
    assert overlap > 0.97  # cells of four pixels
    # Cells enlarged without a blend give steps: an outline a quarter longer than the circle.
    steps = np.kron(mask[2::4, 2::4], np.ones((4, 4), bool))
    assert perimeter(mask) < 1.03 * perimeter(TRUTH) < perimeter(steps)
    assert found.confidence.shape == (HEIGHT, WIDTH)


def test_what_did_not_change_keeps_every_pixel() -> None:
    coarse = COARSE.copy()
    coarse[20:60:2, 20:160:3] = 2  # finer than a cell
    coarse[700:, 900:] = IGNORE
    found = refine(PHOTO, coarse, FakeBackend(), options(256))
    assert np.count_nonzero(found.ids != coarse) > 1000
    assert np.array_equal(found.ids[:100, :170], coarse[:100, :170])
    assert np.array_equal(found.ids == IGNORE, coarse == IGNORE)
    assert not found.confidence[coarse == IGNORE].any()
    small = next(one for one in found.verdicts if one.label == 2)
    assert small.area == np.count_nonzero(coarse == 2)  # counted in pixels that came in


def test_prompts_come_back_in_pixels_of_the_picture() -> None:
    found = refine(PHOTO, COARSE, FakeBackend(), options(256))
    assert found.prompts.boxes is not None
    assert found.prompts.asked is None
    expected = [510 - RADIUS, 340 - RADIUS, 510 + RADIUS, 340 + RADIUS]
    np.testing.assert_allclose(found.prompts.boxes[0], expected, atol=5)
    assert COARSE[tuple(found.prompts.points[0, 0, ::-1].astype(int))] == 1


def test_points_and_boxes_of_one_cell_cover_its_pixels() -> None:
    view = at_working_size(PHOTO, COARSE, None, WorkingSizeOptions(longest=500))
    cell = Prompts(
        points=np.array([[[3, 5]]], np.float32),
        point_labels=np.ones((1, 1), np.int8),
        boxes=np.array([[3, 5, 3, 5]], np.float32),
        labels=np.array([1], np.int32),
    )
    back = view.restore_prompts(cell)
    assert back.points.tolist() == [[[6.5, 10.5]]]
    assert back.boxes is not None
    assert back.boxes.tolist() == [[6, 10, 7, 11]]


def test_tiles_have_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    view = at_working_size(PHOTO, COARSE, None, WorkingSizeOptions(longest=300))
    rng = np.random.default_rng(0)
    refined = rng.integers(0, 4, view.coarse.shape).astype(np.int32)
    refined[:100] = view.coarse[:100]
    whole = view.restore_labels(refined)
    monkeypatch.setattr(module, "_TILE", 61)
    assert np.array_equal(view.restore_labels(refined), whole)


def test_a_label_is_the_one_of_most_weight_among_the_four_nearest_cells() -> None:
    full = np.zeros((12, 16), np.int32)
    view = module.WorkingSize(
        image=np.zeros((3, 4, 3), np.uint8),
        coarse=np.zeros((3, 4), np.int32),
        guide=None,
        full=full,
    )
    refined = np.random.default_rng(1).integers(0, 3, (3, 4)).astype(np.int32)
    refined[refined == 0] = 3  # every cell changed
    found = view.restore_labels(refined)
    for y, x in np.ndindex(full.shape):
        weights: dict[int, float] = {}
        row, col = (y + 0.5) / 4 - 0.5, (x + 0.5) / 4 - 0.5
        for cy in (int(np.floor(row)), int(np.floor(row)) + 1):
            for cx in (int(np.floor(col)), int(np.floor(col)) + 1):
                label = int(refined[min(max(cy, 0), 2), min(max(cx, 0), 3)])
                share = (1 - abs(row - cy)) * (1 - abs(col - cx))
                weights[label] = weights.get(label, 0) + share
        best = max(weights.values())
        assert weights[int(found[y, x])] == pytest.approx(best, abs=2e-2)


def test_a_guide_is_reduced_with_its_picture() -> None:
    holes = np.zeros((HEIGHT, WIDTH), bool)
    holes[:, WIDTH // 2 :] = True
    view = at_working_size(
        PHOTO, COARSE, Guide(image=PHOTO, holes=holes), WorkingSizeOptions(longest=256)
    )
    assert view.guide is not None
    assert view.guide.holes is not None
    assert view.guide.image.shape == (192, 256, 3)
    assert view.guide.holes.mean() == 0.5
    seen = refine(
        PHOTO,
        COARSE,
        FakeBackend(),
        RefineOptions(
            working_size=WorkingSizeOptions(longest=256),
            global_region=GlobalRegionOptions(grid=4, picture="both", min_score=0, min_stability=0),
        ),
        guide=Guide(image=PHOTO),
    )
    assert seen.ids.shape == seen.local.shape == COARSE.shape


def test_decisions_of_a_small_picture_are_untouched() -> None:
    view = at_working_size(PHOTO, COARSE, None, WorkingSizeOptions(longest=0))
    one = Decision(label=1, accepted=True, reason="accepted", score=1.0, agreement=1.0, area=3)
    assert view.restore_decisions([one]) == (one,)


@pytest.mark.slow
def test_24_megapixels_with_twenty_objects_take_ten_seconds_of_one_core() -> None:
    photo = np.full((4000, 6000, 3), (70, 120, 90), np.uint8)
    coarse = np.zeros((4000, 6000), np.int32)
    places = np.random.default_rng(0).integers(250, 3700, (20, 2))
    for label, (cy, cx) in enumerate(places.tolist(), start=1):
        shape = disc(400, 400, 200, 200, 180)
        photo[cy - 200 : cy + 200, cx : cx + 400][shape] = (10 * label, 200 - 9 * label, 60)
        coarse[cy - 180 : cy + 220, cx + 25 : cx + 425][shape] = label
    backend = load_backend(BackendOptions())
    start = process_time()
    found = refine(photo, coarse, backend)
    assert process_time() - start < 10
    assert np.count_nonzero(found.ids != coarse)
