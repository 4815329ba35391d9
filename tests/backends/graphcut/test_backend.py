"""The embedded segmenter: a contract every backend keeps, and that it really segments."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import Scene
from uosam.backends import BackendOptions, load_backend
from uosam.backends.graphcut.backend import GraphCut
from uosam.backends.graphcut.cutting import cut_regions
from uosam.backends.graphcut.evidence import affinity, build_kernels
from uosam.backends.graphcut.guided import GuidedFilter
from uosam.backends.graphcut.hierarchy import build_hierarchy, segments_at
from uosam.backends.graphcut.regions import WORK_SIDE, Regions, find_regions, working_copy
from uosam.errors import InputError
from uosam.labels import box, iou
from uosam.pipeline import RefineOptions, refine
from uosam.stages.local_region import LocalRegionOptions
from uosam.stages.prompts import PromptOptions, make_prompts
from uosam.structures import Prompts, Proposals

SIZES = [(1, 1), (1, 40), (3, 5), (64, 48), (48, 64), (300, 700), (700, 20)]


def picture(image_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    height, width = image_hw
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3)).astype(np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width].copy()


def prompts_of(scene: Scene, backend: GraphCut, **change: object) -> Prompts:
    options = replace(PromptOptions(), **change)  # type: ignore[arg-type]
    return make_prompts(scene.coarse, backend.embed(scene.image), options)


def same(first: Proposals, second: Proposals) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("masks", "scores", "stability", "logits", "row")
    )


@pytest.mark.parametrize("image_hw", SIZES)
def test_shapes_and_types_for_every_size(image_hw: tuple[int, int]) -> None:
    backend = GraphCut()
    embedding = backend.embed(picture(image_hw))
    mask = np.zeros(image_hw, np.int32)
    mask[: max(1, image_hw[0] // 2)] = 1
    prompts = make_prompts(mask, embedding, PromptOptions(min_area=0), background=None)
    point = Prompts(
        points=np.zeros((1, 1, 2), np.float32),
        point_labels=np.ones((1, 1), np.int8),
        labels=np.zeros(1, np.int32),
    )
    for asked in (prompts, point):
        found = backend.decode(embedding, asked)
        assert found.masks.shape == (len(found), *image_hw)
        assert found.logits.shape == (len(found), *embedding.logits_hw)
        assert found.masks.dtype == bool
        assert found.logits.dtype == found.scores.dtype == found.stability.dtype == np.float32
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
        assert ((found.stability >= 0) & (found.stability <= 1)).all()


@pytest.mark.parametrize("kind", ["mask", "box", "point"])
def test_a_batch_equals_its_rows_and_an_embedding_is_a_value(scene: Scene, kind: str) -> None:
    backend = GraphCut()
    change = {"mask": kind == "mask", "boxes": kind == "box"}
    prompts = prompts_of(scene, backend, **change)
    embedding = backend.embed(scene.image)
    whole = backend.decode(embedding, prompts)
    backend.embed(scene.image[:, ::-1].copy())
    assert same(whole, backend.decode(embedding, prompts))
    for row in range(len(prompts)):
        one = Prompts(
            points=prompts.points[[row]],
            point_labels=prompts.point_labels[[row]],
            boxes=None if prompts.boxes is None else prompts.boxes[[row]],
            logits=None if prompts.logits is None else prompts.logits[[row]],
            labels=prompts.labels[[row]],
        )
        alone = backend.decode(embedding, one)
        at = whole.row == row
        assert np.array_equal(alone.masks, whole.masks[at])
        assert alone.scores == pytest.approx(whole.scores[at], abs=1e-5)


@pytest.mark.parametrize("kind", ["mask", "box", "point"])
def test_every_kind_of_prompt_finds_the_object(scene: Scene, kind: str) -> None:
    backend = GraphCut()
    prompts = prompts_of(scene, backend, mask=kind == "mask", boxes=kind == "box")
    found = backend.decode(backend.embed(scene.image), prompts)
    for row, label in enumerate(prompts.labels.tolist()):
        best = max(iou(mask, scene.target == label) for mask in found.masks[found.row == row])
        assert best > 0.9


def test_thresholds_drop_masks_and_single_mask_is_single(scene: Scene) -> None:
    backend = GraphCut()
    prompts = prompts_of(scene, backend)
    embedding = backend.embed(scene.image)
    every = backend.decode(embedding, prompts)
    good = backend.decode(embedding, prompts, min_score=float(np.median(every.scores)))
    assert 0 < len(good) < len(every)
    assert len(backend.decode(embedding, prompts, min_stability=1.01)) == 0
    single = backend.decode(embedding, prompts, multimask=False)
    assert single.row.tolist() == list(range(len(prompts)))


def test_negative_points_take_regions_out(scene: Scene) -> None:
    backend = GraphCut()
    embedding = backend.embed(scene.image)
    rows, cols = np.nonzero(scene.target == 2)
    inside = [float(cols.mean()), float(rows.mean())]
    away = [5.0, 5.0]
    prompts = Prompts(
        points=np.array([[inside, away]], np.float32),
        point_labels=np.array([[1, 0]], np.int8),
        boxes=box(scene.target > 0)[None],
        labels=np.array([2], np.int32),
    )
    for mask in backend.decode(embedding, prompts).masks:
        assert mask[int(inside[1]), int(inside[0])]
        assert not mask[5, 5]


def test_a_logit_grid_of_another_embedding_is_refused(scene: Scene) -> None:
    backend = GraphCut()
    prompts = prompts_of(scene, backend)
    with pytest.raises(InputError, match=r"logit grid \(16, 8\), got \(32, 48\)"):
        backend.decode(backend.embed(picture((32, 16))), prompts)


def test_refinement_sharpens_the_scene_and_is_deterministic(scene: Scene) -> None:
    backend = load_backend(BackendOptions(name="graphcut"))
    # The judge was fitted on photographs; it trusts no redraw of two flat shapes.
    options = RefineOptions(local_region=LocalRegionOptions(judge=False))
    first = refine(scene.image, scene.coarse, backend, options)
    for label in (1, 2):
        before = iou(scene.coarse == label, scene.target == label)
        assert iou(first.labels == label, scene.target == label) > before + 0.05
    second = refine(scene.image, scene.coarse, backend, options)
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.confidence, second.confidence)
    assert set(first.seconds) == {"embed", "prompts", "local_region", "global_region"}


def test_a_perfect_mask_is_let_alone(scene: Scene) -> None:
    result = refine(scene.image, scene.target, GraphCut())
    for label in (1, 2):
        assert iou(result.labels == label, scene.target == label) > 0.97


def tiny_regions(rng: np.random.Generator, count: int) -> Regions:
    pairs = np.array([p for p in itertools.combinations(range(count), 2) if rng.random() < 0.5])
    pairs = pairs.reshape(-1, 2).astype(np.int64)
    edges = len(pairs)
    return Regions(
        ids=np.arange(count, dtype=np.int32)[None],
        area=np.ones(count, np.float32),
        centre=np.zeros((count, 2), np.float32),
        colour=np.zeros((count, 4), np.float32),
        pairs=pairs,
        shared=rng.random(edges).astype(np.float32),
        contrast=np.zeros(edges, np.float32),
        difference=np.zeros(edges, np.float32),
    )


def test_the_cut_is_the_cheapest_of_all_labellings() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        regions = tiny_regions(rng, 7)
        unary = rng.normal(0, 1, 7).astype(np.float32)
        weights = affinity(regions)

        def cost(inside: np.ndarray) -> float:
            parted = inside[regions.pairs[:, 0]] != inside[regions.pairs[:, 1]]  # noqa: B023
            wrong = np.where(inside, np.maximum(-unary, 0), np.maximum(unary, 0))  # noqa: B023
            return float(wrong.sum() + weights[parted].sum())  # noqa: B023

        best = min(cost(np.array(choice)) for choice in itertools.product([False, True], repeat=7))
        assert cost(cut_regions(unary, regions, weights, 1.0)) == pytest.approx(best, abs=0.1)


def test_regions_partition_the_picture_and_follow_its_edges() -> None:
    image = picture((60, 80))
    regions = find_regions(image)
    assert np.bincount(regions.ids.ravel()).tolist() == regions.area.tolist()
    inner = regions.ids[1:-1, 1:-1]
    truth = (np.arange(60) // 16)[1:-1, None] * 5 + (np.arange(80) // 16)[None, 1:-1]
    counts = np.zeros((len(regions), truth.max() + 1))
    np.add.at(counts, (inner.ravel(), truth.ravel()), 1)
    assert counts.max(axis=1).sum() > 0.9 * inner.size
    kernels = build_kernels(regions)
    assert np.asarray(kernels.smooth.sum(axis=1)).ravel() == pytest.approx(1, abs=1e-3)


def test_large_pictures_are_worked_on_small() -> None:
    assert max(working_copy(picture((600, 900))).shape) == WORK_SIDE
    assert working_copy(picture((5, 5))).shape == (5, 5, 3)


def test_levels_of_the_hierarchy_are_nested() -> None:
    regions = find_regions(picture((96, 96), seed=3))
    levels = build_hierarchy(regions)
    for fine, rough in itertools.pairwise(levels):
        for segment in np.unique(fine):
            assert len(np.unique(rough[fine == segment])) == 1
    members, scores = segments_at(levels, regions, 0, 3)
    assert members[:, 0].all()
    assert len(members) == len(scores) <= 3
    assert sorted(members.sum(axis=1)) == members.sum(axis=1).tolist()


def test_the_guided_filter_equals_its_definition_on_a_linear_picture() -> None:
    # Where the field is a linear function of the colours, the filter gives it back.
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    image = np.stack([np.tile(ramp, (48, 1))] * 3, axis=2)
    field = image[:, :, 0].astype(np.float32) / 255
    out = GuidedFilter(image)(field)
    assert np.abs(out - field)[8:-8, 8:-8].max() < 0.02
