"""Refiners that prompt a segmenter: rules by hand, and pictures whose right answer is known."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from uosam.baselines.paper import refine_paper
from uosam.baselines.proposal_vote import refine_proposal_vote
from uosam.baselines.pseudo_label_merge import merge_segments, refine_pseudo_label_merge
from uosam.baselines.sad import refine_sad
from uosam.baselines.samrefiner import refine_samrefiner
from uosam.baselines.trident import refine_trident

from tests.conftest import Scene
from tests.fakes import FakeBackend
from uosam.backends import BackendOptions, load_backend
from uosam.baselines import pseudo_label_merge, samrefiner, trident
from uosam.config import load_config
from uosam.errors import ConfigError, InputError
from uosam.labels import iou, to_grid
from uosam.pipeline import refine
from uosam.structures import IGNORE, LOGIT_SCALE, Embedding, Prompts, Proposals

REFINERS = (
    refine_proposal_vote,
    refine_sad,
    refine_pseudo_label_merge,
    refine_samrefiner,
    refine_trident,
    refine_paper,
)


@dataclass
class Scripted(FakeBackend):
    """Answers every prompt with the same masks, the first row first; remembers the questions."""

    masks: list[np.ndarray]
    scores: list[float]
    asked: list[Prompts] = field(default_factory=list)

    def decode(self, embedding: Embedding, prompts: Prompts, **_: object) -> Proposals:
        self.asked.append(prompts)
        masks = np.stack(self.masks[: len(prompts)])
        cells = [to_grid(mask * 20.0 - 10.0, embedding, scale=LOGIT_SCALE) for mask in masks]
        return Proposals(
            masks=masks,
            scores=np.array(self.scores[: len(prompts)], np.float32),
            stability=np.ones(len(masks), np.float32),
            logits=np.stack(cells),
            row=np.arange(len(masks)),
        )


def test_every_refiner_takes_the_arguments_of_the_pipeline() -> None:
    found = []
    for path in sorted(Path(samrefiner.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"uosam.baselines.{path.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("refine_") and function.__module__ == module.__name__:
                found.append(name)
                first, *others = list(inspect.signature(function).parameters.values())
                names = [first.name, *(other.name for other in others)]
                assert names[:2] == ["image", "coarse"], name
                names = [n for n in names[2:] if n != "backend"]
                assert names[0] == "background", name
                assert others[-1].kind is inspect.Parameter.KEYWORD_ONLY, name
    assert len(found) == 14
    assert len(found) == len(set(found))


@pytest.mark.parametrize("refiner", [r for r in REFINERS if r is not refine_trident])
def test_a_segmenter_that_knows_the_shapes_gives_the_shapes(refiner, scene: Scene) -> None:
    settings = {"grid": 8} if "grid" in refiner.__annotations__ else {}
    labels = refiner(scene.image, scene.coarse, FakeBackend(), **settings)
    assert labels.dtype == np.int32
    for label in (1, 2):
        target = scene.target == label
        assert iou(labels == label, target) > 0.97, label


@pytest.mark.parametrize("refiner", REFINERS)
def test_any_backend_will_do_and_ignore_stays(refiner, scene: Scene) -> None:
    coarse = scene.coarse.copy()
    coarse[:6, :20] = IGNORE
    before = coarse.copy()
    backend = load_backend(BackendOptions())
    settings = {"grid": 4} if "grid" in refiner.__annotations__ else {}
    for background in (0, None):
        labels = refiner(scene.image, coarse, backend, background=background, **settings)
        assert np.array_equal(labels == IGNORE, coarse == IGNORE)
        assert set(np.unique(labels)) <= {IGNORE, 0, 1, 2}
    assert np.array_equal(coarse, before)


@pytest.mark.parametrize("refiner", REFINERS)
def test_sizes_must_agree(refiner, scene: Scene) -> None:
    with pytest.raises(InputError, match="64 x 96"):
        refiner(scene.image, scene.coarse[:50], FakeBackend())


def test_paper_is_the_pipeline_with_its_configuration(scene: Scene) -> None:
    backend = load_backend(BackendOptions())
    options = load_config("paper", ["global_region.grid=4"]).refine
    expected = refine(scene.image, scene.coarse, backend, options).labels
    assert np.array_equal(refine_paper(scene.image, scene.coarse, backend, grid=4), expected)


def test_a_vote_is_counted_on_the_coarse_map_and_small_segments_win() -> None:
    coarse = np.array([[1, 1, 1, 2, 0, 0]], np.int32).repeat(60, axis=0).repeat(60, axis=1)
    wide, narrow = np.zeros((2, *coarse.shape), bool)
    wide[:, :240] = True  # labels 1, 1, 1, 2: becomes 1
    narrow[:, 180:330] = True  # labels 2 (60 columns), 0 (90): becomes 0, over the wide one
    image = np.zeros((*coarse.shape, 3), np.uint8)
    labels = refine_proposal_vote(image, coarse, Scripted([narrow, wide], [0.95, 0.9]), grid=2)
    expected = np.array([[1, 1, 1, 0, 0, 0]], np.int32).repeat(60, axis=0).repeat(60, axis=1)
    assert np.array_equal(labels, expected)


SEGMENT_CASES = {
    # Object 1 is columns 0 to 9, object 2 columns 10 to 13 of 20. Segment A is columns 0 to 5,
    # all in object 1; B columns 9 to 19, of which object 2 is 4 of 11 but covered whole.
    "max_iou": [1] * 6 + [0] * 14,
    "max_iou_imp": [1] * 9 + [0] * 11,
    "max_iou_imp2": [1] * 9 + [2] * 11,
}


@pytest.mark.parametrize("rule", SEGMENT_CASES)
@pytest.mark.parametrize("background", [0, None])
def test_merge_rules_by_hand(rule, background) -> None:
    coarse = np.array([[1] * 10 + [2] * 4 + [0] * 6], np.int32)
    masks = np.zeros((2, 1, 20), bool)
    masks[0, 0, :6] = True
    masks[1, 0, 9:] = True
    labels = merge_segments(coarse, masks, rule, background)
    expected = np.array([SEGMENT_CASES[rule]], np.int32)
    if background is None:
        # Id 0 is an object, too, of which B holds 6 of 11 columns, so that it takes B first.
        expected[:, 9:] = 0
        if rule == "max_iou":
            expected[:, 6:9] = 1  # nobody took them
        if rule == "max_iou_imp2":
            expected[:, 10:14] = 2  # with B gone, nothing covers object 2
            expected[:, 9] = 1
    assert np.array_equal(labels, expected)


def test_merge_rules_are_three(scene: Scene) -> None:
    with pytest.raises(ConfigError, match=r"rule must be one of max_iou, .*, got 'best'"):
        refine_pseudo_label_merge(scene.image, scene.coarse, FakeBackend(), rule="best", grid=2)
    assert pseudo_label_merge.COVERAGE == 0.85


def test_split_then_merge_by_hand() -> None:
    mask = np.zeros((40, 60), bool)
    mask[0:10, 0:10] = mask[0:10, 12:22] = True  # side by side: one object
    mask[30:40, 50:60] = True  # far away: its own
    mask[20, 30:34] = True  # four pixels: dropped
    parts = samrefiner.split_then_merge(mask)
    assert [int(part.sum()) for part in parts] == [200, 100]
    # Two thin bars that make an L fill a quarter of their joint box, their own boxes wholly.
    corner = np.zeros((40, 40), bool)
    corner[0:36, 0:3] = corner[37:40, 4:40] = True
    assert len(samrefiner.split_then_merge(corner)) == 2


def test_the_gaussian_mask_by_hand() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    embedding = FakeBackend().embed(image)  # 8 x 8 cells, logit grid 32 x 32, 2 pixels a cell
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    logits = samrefiner.gaussian_logits(mask, embedding, 4.0, 30.0)
    assert logits.shape == (32, 32)
    assert (logits[:8] == -30).all()
    # A cell on the diagonal has three pixels of one depth and one of the next; 16 is the deepest.
    for cell, depths in ((8, (1, 1, 1, 2)), (15, (15, 15, 15, 16))):
        values = [30 * np.exp(-4 * (depth - 16) ** 2 / 1024) for depth in depths]
        assert logits[cell, cell] == pytest.approx(np.mean(values), rel=1e-4)


def test_an_elastic_box_reaches_for_more_of_the_same(scene: Scene) -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, :48] = (255, 0, 0)
    image[:, 48:] = (0, 0, 255)
    embedding = FakeBackend().embed(image)
    mask = np.zeros((64, 96), bool)
    mask[24:40, 16:48] = True
    assert samrefiner.elastic_box(mask, embedding, 0.0).tolist() == [16, 24, 47, 39]
    # 10 % of 32 and 16 pixels; nothing red lies to the right.
    assert samrefiner.elastic_box(mask, embedding, 0.5).tolist() == [13, 22, 47, 41]


def test_samrefiner_asks_again_with_its_own_answer(scene: Scene) -> None:
    targets = [scene.target == label for label in (1, 2)]
    backend = Scripted(targets, [0.7, 0.2])
    labels = refine_samrefiner(scene.image, scene.coarse, backend, iterations=3)
    assert np.array_equal(labels, scene.target)
    assert len(backend.asked) == 3
    boxes = [prompts.boxes for prompts in backend.asked]
    assert not np.array_equal(boxes[0], boxes[1])
    assert boxes[1].tolist() == [[11, 15, 41, 45], [58, 18, 83, 49]]
    silent = Scripted([np.zeros_like(targets[0])] * 2, [0.9, 0.9])
    assert np.array_equal(refine_samrefiner(scene.image, scene.coarse, silent), scene.coarse)


def test_trident_keeps_what_it_is_not_sure_of(scene: Scene) -> None:
    regions = trident._regions(scene.coarse, 50)
    assert [label for label, _ in regions] == [0, 1, 2]
    truth = [scene.target == label for label, _ in regions]
    sure = refine_trident(
        scene.image, scene.coarse, Scripted(truth, [0.95] * 3), min_area=50, softness=0.1
    )
    assert np.array_equal(sure, scene.target)
    unsure = refine_trident(
        scene.image, scene.coarse, Scripted(truth, [0.9] * 3), min_area=50, softness=0.1
    )
    assert np.array_equal(unsure, scene.coarse)
    # The background and object 2 settle what is between them; object 1 keeps its pixels.
    half = refine_trident(
        scene.image, scene.coarse, Scripted(truth, [0.95, 0.1, 0.95]), min_area=50, softness=0.1
    )
    assert np.array_equal(half == 1, scene.coarse == 1)
    assert np.array_equal(half == 2, truth[2])


def test_trident_takes_probabilities_where_there_are_any(scene: Scene) -> None:
    chances = np.zeros((3, 64, 96), np.float32)
    for label in range(3):
        chances[label] = np.where(scene.coarse == label, 0.8, 0.1)
    backend = Scripted([scene.target == label for label in range(3)], [0.95] * 3)
    labels = refine_trident(
        scene.image, scene.coarse, backend, scores=chances, min_area=50, strength=2.0
    )
    assert np.array_equal(labels, scene.target)
    logits = backend.asked[0].logits
    assert logits.max() == pytest.approx(1.6)
    assert logits.min() == 0  # 0.1 is not above the floor
    nothing = refine_trident(scene.image, scene.coarse, backend, scores=chances * 0.1)
    assert np.array_equal(nothing, scene.coarse)
