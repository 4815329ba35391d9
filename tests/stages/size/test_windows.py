"""Small objects are drawn again in windows: finer, near their outline only, others untouched."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.fakes import FakeBackend
from uosam.errors import ConfigError
from uosam.labels import iou
from uosam.pipeline import RefineOptions, refine
from uosam.stages.local_region import LocalRegionOptions
from uosam.stages.prompts import PromptOptions
from uosam.stages.size.windows import Window, WindowOptions, choose_windows, refine_windows
from uosam.structures import IGNORE, Embedding, Image, Prompts, Proposals

SIDE = 80  # of the square in which the backend below sees every picture
POINTS = PromptOptions(mask=False)
ONE = WindowOptions(most=1)


class NearSighted(FakeBackend):
    """Sees pictures reduced to 80 pixels, as a network does, and draws on those."""

    def embed(self, image: Image) -> Embedding:
        scale = SIDE / max(image.shape[:2])
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        seen = super().embed(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        return replace(seen, image_hw=(image.shape[0], image.shape[1]), state=seen)

    def decode(self, embedding: Embedding, prompts: Prompts, **limits: object) -> Proposals:
        seen: Embedding = embedding.state
        scale = seen.image_hw[1] / embedding.image_hw[1]
        asked = replace(prompts, points=(prompts.points + 0.5) * scale - 0.5, asked=None)
        if prompts.boxes is not None:
            asked = replace(asked, boxes=prompts.boxes * np.float32(scale))
        found = super().decode(seen, asked)
        size = embedding.image_hw[::-1]
        masks = [cv2.resize(m.astype(np.uint8), size) > 0 for m in found.masks]
        return replace(found, masks=np.reshape(masks, (-1, *embedding.image_hw)).astype(bool))


def disc(cy: float, cx: float, radius: float) -> np.ndarray:
    y, x = np.ogrid[:400, :600]
    return (y - cy) ** 2 + (x - cx) ** 2 < radius**2


TRUTH = disc(200, 300, 40).astype(np.int32)
PHOTO = np.where(TRUTH[..., None] > 0, [210, 60, 40], [70, 120, 90]).astype(np.uint8)
COARSE = disc(202, 303, 39).astype(np.int32)


def redraw(labels: np.ndarray, options: WindowOptions, **settings: object) -> np.ndarray:
    redrawn = set(np.unique(labels).tolist()) - {0, IGNORE}
    return refine_windows(PHOTO, labels, redrawn, NearSighted(), options, POINTS, **settings)


def test_a_small_object_is_drawn_finer_in_a_window() -> None:
    local = LocalRegionOptions(cascade=1, min_score=0)
    options = RefineOptions(prompts=POINTS, local_region=local)
    whole = refine(PHOTO, COARSE, NearSighted(), options)
    finer = refine(PHOTO, COARSE, NearSighted(), replace(options, windows=ONE))
    assert "windows" not in whole.seconds
    assert "windows" in finer.seconds
    rough, fine = (iou(found.labels == 1, TRUTH == 1) for found in (whole, finer))
    assert rough < 0.93
    assert fine > 0.96
    assert np.array_equal(finer.local, whole.labels)


def test_shapes_change_near_their_outline_only() -> None:
    assert iou(redraw(COARSE, ONE) == 1, TRUTH == 1) > 0.96
    # A pixel of reach leaves what is three pixels off as it is, and so does full agreement.
    short = redraw(COARSE, replace(ONE, reach=0.0))
    assert np.count_nonzero(short != COARSE) < np.count_nonzero(TRUTH != COARSE)
    assert np.array_equal(redraw(COARSE, replace(ONE, min_agreement=1.0)), COARSE)


def test_objects_that_may_not_change_keep_their_pixels() -> None:
    labels = COARSE.copy()
    labels[190:210, 336:345] = 2  # beside the disc, within the window
    labels[170:175, 260:264] = IGNORE
    found = refine_windows(PHOTO, labels, {1}, NearSighted(), ONE, POINTS)
    assert (found[labels == 2] == 2).all()
    assert (found[labels == IGNORE] == IGNORE).all()
    assert (found != labels).any()


def test_without_a_background_nothing_is_lost() -> None:
    found = redraw(COARSE + 1, ONE, background=None)
    assert set(np.unique(found)) == {1, 2}
    assert found.dtype == np.int32


def test_windows_are_laid_around_small_objects_and_hold_their_neighbours() -> None:
    labels = np.zeros((400, 600), np.int32)
    labels[100:140, 200:240] = 1
    labels[100:130, 245:250] = 2  # within the window of the first, with room
    labels[350:400, 550:600] = 3  # in the corner of the picture
    labels[0:300, 0:150] = 4  # too large for a window
    windows = choose_windows(labels, {1, 2, 3, 4}, replace(ONE, most=5, enlargement=2.0))
    assert [set(np.unique(w.shown)) - {IGNORE} for w in windows] == [{3}, {1, 2}]
    for window in windows:
        assert isinstance(window, Window)
        assert window.rows.stop <= 400
        assert window.cols.stop <= 600
        here = labels[window.rows, window.cols]
        assert (window.shown == np.where(np.isin(here, (1, 2, 3)), here, IGNORE)).all()
    assert len(choose_windows(labels, {1, 2, 3, 4}, replace(ONE, enlargement=2.0))) == 1
    assert choose_windows(labels, {1, 2, 3, 4}, WindowOptions()) == []
    assert choose_windows(labels, {9}, ONE) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reach": 1.5}, r"windows.reach must be in \[0, 1\], got 1.5"),
        ({"min_agreement": -1}, r"windows.min_agreement must be in \[0, 1\], got -1"),
        ({"most": -1}, "windows.most must be at least 0, got -1"),
        ({"enlargement": 0.5}, "windows.enlargement must be at least 1, got 0.5"),
        ({"margin": -0.1}, "windows.margin must be at least 0, got -0.1"),
    ],
)
def test_numbers_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WindowOptions(**values)
