"""Everything mode: equal to SAM's mask generator where set so, and what its options do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator
from torchvision.ops import nms

from benchmarks.speed_weights import SCORE, build_seeded
from tests.conftest import Scene
from tests.small_sam import build_small_sam, picture
from uosam.backends.graphcut.backend import GraphCut
from uosam.backends.sam.backend import SamBackend
from uosam.errors import ConfigError
from uosam.evaluation.demo import examples_folder
from uosam.io.images import read_image
from uosam.stages.everything import EverythingOptions, find_everything
from uosam.stages.segments import Segment, crop_boxes, paint, suppress_boxes, tight_box

PUBLISHED = EverythingOptions(stability="picture", duplicates="boxes")
GRAPHCUT = EverythingOptions(grid=6, min_score=0.5)


def held_against(sam: Any, image: np.ndarray, options: EverythingOptions) -> int:
    """Compare with the public generator, mask by mask; return how many there are."""
    generator = SamAutomaticMaskGenerator(
        sam,
        points_per_side=options.grid,
        pred_iou_thresh=options.min_score or 0.88,
        stability_score_thresh=options.min_stability,
        box_nms_thresh=options.max_overlap,
        crop_nms_thresh=options.max_overlap,
        crop_n_layers=options.crops,
        crop_n_points_downscale_factor=options.crop_divisor,
        min_mask_region_area=options.min_region,
    )
    expected = generator.generate(image)
    backend = SamBackend(sam=sam, device=torch.device("cpu"))
    found = find_everything(image, backend, options)
    assert len(found) == len(expected)
    for one, record in zip(found, expected, strict=True):
        assert (one.mask != record["segmentation"]).sum() <= 2e-4 * one.mask.size + 2
        x, y, width, height = record["bbox"]
        # A box moves by as much as its outermost pixel.
        assert np.abs(np.array(one.box) - [x, y, x + width, y + height]).max() <= 1
        assert one.score == pytest.approx(record["predicted_iou"], abs=1e-4)
        assert one.stability == pytest.approx(record["stability_score"], abs=3e-3)
        assert list(one.point) == pytest.approx(record["point_coords"][0], abs=1e-3)
        x0, y0, x1, y1 = one.crop
        assert [x0, y0, x1 - x0, y1 - y0] == record["crop_box"]
    return len(found)


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": 3},
        pytest.param({"crops": 1, "crop_divisor": 2}, marks=pytest.mark.slow),
        pytest.param({"min_region": 40}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_it_is_the_public_mask_generator(changes: dict[str, Any]) -> None:
    # The masks of the small network span the picture: their boxes would all be repeats.
    options = replace(
        PUBLISHED,
        **{"grid": 4, "min_score": 0.4, "min_stability": 0.5, "max_overlap": 1.0} | changes,
    )
    assert held_against(build_small_sam(), picture((60, 90)), options) > 10


@pytest.mark.slow
def test_it_is_the_public_mask_generator_with_its_own_thresholds() -> None:
    image = read_image(examples_folder() / "images" / "astronaut.jpg")
    network = build_seeded("vit_b", image)
    # The head of SAM may estimate more than 1, which counts as 1 here: those would be ties.
    head = network.mask_decoder.iou_prediction_head.layers[-1]
    with torch.inference_mode():
        head.weight[1:].mul_(0.4)
        head.bias[1:].sub_(SCORE).mul_(0.4).add_(SCORE)
    # Masks of seeded weights span the picture: their boxes would all be repeats of one.
    assert held_against(network, image, replace(PUBLISHED, grid=8, max_overlap=1.0)) > 3


def test_suppression_of_boxes_is_that_of_torchvision() -> None:
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 40, (200, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 40, (200, 2))], axis=1)
    scores = rng.permutation(200).astype(np.float32)
    expected = nms(torch.tensor(boxes).float(), torch.tensor(scores), 0.4)
    found = suppress_boxes([tuple(box) for box in boxes.tolist()], scores, 0.4)
    assert found.tolist() == expected.tolist()
    assert 0 < len(found) < 200


def test_a_part_is_no_repeat_of_a_whole_with_the_same_box(scene: Scene) -> None:
    image = scene.image.copy()
    image[20:48, 60:82] = (250, 250, 250)
    masks = find_everything(image, GraphCut(), replace(GRAPHCUT, levels=(1, 6)))
    boxes = find_everything(
        image, GraphCut(), replace(GRAPHCUT, levels=(1, 6), duplicates="boxes", max_overlap=0.5)
    )
    assert len(boxes) <= len(masks)
    assert {one.level for one in masks} == {1, 6}


def test_masks_carry_what_asked_for_them(scene: Scene) -> None:
    found = find_everything(scene.image, GraphCut(), GRAPHCUT)
    assert found
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    for one in found:
        mask = one.mask
        assert mask.shape == (64, 96)
        assert mask[min(63, int(one.point[1])), min(95, int(one.point[0]))]
        assert one.box == tight_box(mask)
        assert one.crop == (0, 0, 96, 64)
        assert one.level == 0


def test_areas_and_small_regions_are_limited(scene: Scene) -> None:
    every = find_everything(scene.image, GraphCut(), GRAPHCUT)
    sizes = sorted(int(one.mask.sum()) for one in every)
    middle = sizes[len(sizes) // 2] / scene.target.size
    large = find_everything(scene.image, GraphCut(), replace(GRAPHCUT, min_area=middle))
    small = find_everything(scene.image, GraphCut(), replace(GRAPHCUT, max_area=middle))
    assert 0 < len(large) < len(every)
    assert 0 < len(small) < len(every)
    assert min(one.mask.sum() for one in large) >= middle * scene.target.size
    assert max(one.mask.sum() for one in small) <= middle * scene.target.size


def test_crops_cover_the_picture_and_cut_masks_go(scene: Scene) -> None:
    boxes = [box for _, box in crop_boxes((64, 96), 2, 0.3)]
    assert len(boxes) == 1 + 4 + 16
    covered = np.zeros((64, 96), int)
    for x0, y0, x1, y1 in boxes[1:]:
        assert x0 < x1 <= 96
        assert y0 < y1 <= 64
        covered[y0:y1, x0:x1] += 1
    assert (covered >= 2).all()
    big = scene.image.repeat(4, axis=0).repeat(4, axis=1)
    found = find_everything(big, GraphCut(), replace(GRAPHCUT, crops=1, crop_divisor=2))
    assert {one.crop for one in found} > {(0, 0, 384, 256)}
    for one in found:
        for own, edge, end in zip(one.box, one.crop, (0, 0, 384, 256), strict=True):
            assert abs(own - edge) > 20 or edge == end or abs(own - end) <= 20


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"grid": 0}, "grid must be at least 1"),
        ({"crops": -1}, "crops must be at least 0"),
        ({"crop_divisor": 0}, "crop_divisor must be at least 1"),
        ({"min_region": -1}, "min_region must be at least 0"),
        ({"min_score": 1.1}, r"min_score must be in \[0, 1\]"),
        ({"max_area": -0.1}, r"max_area must be in \[0, 1\]"),
        ({"stability": "mask"}, "stability must be grid or picture"),
        ({"duplicates": "areas"}, "duplicates must be masks or boxes"),
        ({"levels": (9,)}, r"everything\.levels must be whole numbers"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EverythingOptions(**wrong)


def segment(mask: np.ndarray) -> Segment:
    return Segment(
        bits=np.packbits(mask),
        hw=mask.shape,
        box=tight_box(mask),
        score=1.0,
        stability=1.0,
        level=0,
        point=(0, 0),
        crop=(0, 0, mask.shape[1], mask.shape[0]),
    )


def test_a_map_has_no_overlaps_and_no_gaps() -> None:
    masks = np.zeros((3, 8, 12), bool)
    masks[0, 2:4, 2:4] = True
    masks[1, 1:6, 1:6] = True
    masks[2, 2:6, 9:12] = True
    labels = paint([segment(mask) for mask in masks], (8, 12))
    assert set(np.unique(labels)) == {1, 2, 3}
    assert (labels[masks[0]] == 1).all()
    assert (labels[masks[1] & ~masks[0]] == 2).all()
    assert labels[7, 11] == 3
    assert labels[0, 0] == 2
    gaps = paint([segment(mask) for mask in masks], (8, 12), gaps=True)
    assert np.array_equal(gaps == 0, ~masks.any(0))
    assert not paint([], (8, 12)).any()
    assert tight_box(np.zeros((3, 3), bool)) == (0, 0, 0, 0)
