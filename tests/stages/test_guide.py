"""A guide: proposals come from it, as published for depth, and vote on labels of the photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Scene
from tests.fakes import FakeBackend
from tests.geometry.test_cloud import unpack
from uosam.config import load_config
from uosam.errors import ConfigError, InputError
from uosam.pipeline import RefineOptions, refine
from uosam.stages.global_region import GlobalRegionOptions, refine_global
from uosam.stages.proposals import best_of
from uosam.stages.votes import vote
from uosam.structures import IGNORE, Guide

GRID = GlobalRegionOptions(grid=8, min_purity=0.0, protect=False)


class CountingBackend(FakeBackend):
    """Counts the pictures that it embeds."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def embed(self, image: Any) -> Any:
        self.seen.append(image)
        return super().embed(image)


def run(scene: Scene, guide: Any, backend: Any = None, **changes: Any) -> np.ndarray:
    options = RefineOptions(global_region=replace(GRID, **changes))
    return refine(scene.image, scene.coarse, backend or FakeBackend(), options, guide=guide).labels


@pytest.mark.parametrize("seeds", ["grid", "band"])
@pytest.mark.parametrize("picture", ["guide", "both", "auto"])
def test_the_photo_as_its_own_guide_changes_nothing(scene: Scene, picture: str, seeds: str) -> None:
    alone = run(scene, None, seeds=seeds)
    assert np.array_equal(run(scene, scene.image, picture=picture, seeds=seeds), alone)


def test_proposals_come_from_the_guide(scene: Scene) -> None:
    noise = np.random.default_rng(1).integers(0, 256, scene.image.shape).astype(np.uint8)
    photo = replace(scene, image=noise)  # texture all over: no segment in it
    clean = np.array([[0, 0, 0], [90, 90, 90], [200, 200, 200]], np.uint8)[scene.target]
    guided = run(photo, clean)
    right = (run(photo, None) == scene.target).mean()
    assert (guided == scene.target).mean() > max(right, 0.99)
    assert np.array_equal(run(photo, clean, picture="photo"), run(photo, None))


def test_both_are_one_list(scene: Scene) -> None:
    backend = CountingBackend()
    clean = np.array([[0, 0, 0], [90, 90, 90], [0, 0, 0]], np.uint8)[scene.target]  # no box
    hidden = scene.image.copy()
    hidden[scene.target == 1] = hidden[0, 0]  # no disc
    embedding = backend.embed(hidden)

    def voted(picture: str) -> np.ndarray:
        options = replace(GRID, picture=picture)
        guide = Guide(image=clean)
        return refine_global(scene.coarse, embedding, backend, options, guide=guide)

    outlines = {name: voted(name) == scene.target for name in ("photo", "guide", "both")}
    disc, box = scene.target == 1, scene.target == 2
    assert outlines["both"][disc | box].all()
    assert len(backend.seen) == 3  # the photograph, and the guide for two of three
    assert outlines["guide"][disc].all()
    assert not outlines["guide"][box].all()
    assert outlines["photo"][box].all()
    assert not outlines["photo"][disc].all()


def test_a_guide_that_is_not_asked_is_not_embedded(scene: Scene) -> None:
    backend = CountingBackend()
    run(scene, scene.image[::-1].copy(), backend, picture="photo")
    assert len(backend.seen) == 1


def test_a_proposal_in_a_hole_does_not_count(scene: Scene) -> None:
    guide = np.zeros_like(scene.image)
    guide[8:40, 8:48] = 255  # made up
    labels = np.zeros(scene.coarse.shape, np.int32)
    labels[8:40, 8:40] = 3
    options = replace(GRID, picture="guide")
    backend = FakeBackend()
    embedding = backend.embed(scene.image)

    def voted(holes: np.ndarray | None) -> np.ndarray:
        return refine_global(
            labels, embedding, backend, options, guide=Guide(image=guide, holes=holes)
        )

    assert (voted(None)[8:40, 8:48] == 3).all()
    holes = np.zeros(labels.shape, bool)
    holes[8:40, 8:28] = True  # exactly half
    assert (voted(holes)[8:40, 8:48] == 3).all()
    holes[8, 28] = True
    assert np.array_equal(voted(holes), labels)


def test_uncovered_pixels_may_become_ignore() -> None:
    labels = np.array([[1, 1, 2, 2]], np.int32)
    masks = np.array([[[0, 1, 1, 0]]], bool)
    ignore = replace(GRID, uncovered="ignore")
    assert vote(labels, masks, GRID, None).tolist() == [[1, 1, 1, 2]]
    assert vote(labels, masks, ignore, None).tolist() == [[IGNORE, 1, 1, IGNORE]]
    assert vote(labels, masks[:0], ignore, None).tolist() == [[IGNORE] * 4]
    empty = np.zeros((1, 1, 4), bool)  # the published program ends here
    assert vote(labels, empty, GRID, None).tolist() == labels.tolist()


@pytest.mark.parametrize("kind", ["rgb", "depth"])
def test_the_published_votes_on_scannet(shared: Path, kind: str) -> None:
    frame = np.load(shared / "golden/sad/scannet_frame.npz")
    classes = frame["scores_cells"].repeat(40, axis=1).repeat(40, axis=2).argmax(axis=0)
    masks = unpack(frame[f"masks_{kind}"], (480, 640))
    options = load_config("sad-scannet").refine.global_region
    assert options.uncovered == "ignore"
    if kind == "rgb":
        options = replace(options, uncovered="keep")
    voted = vote(classes.astype(np.int32), masks, options, None)
    assert np.array_equal(voted, frame[f"voted_{kind}"])


@pytest.mark.parametrize("kind", ["rgb", "depth"])
def test_the_published_votes_on_sailvos(shared: Path, kind: str) -> None:
    frame = np.load(shared / "golden/sad/sailvos_frame.npz")
    classes = frame["scores_cells"].repeat(80, axis=1).repeat(80, axis=2).argmax(axis=0)
    masks = unpack(frame[f"masks_{kind}"], (800, 1280))
    options = load_config("sad-sailvos").refine.global_region
    voted = vote(classes.astype(np.int32), masks, options, None)
    assert np.array_equal(voted[::4, ::4], frame[f"voted_{kind}_sub"])
    counts = frame["voted_counts"][0 if kind == "rgb" else 1]
    assert np.array_equal(np.bincount(voted.ravel(), minlength=len(counts)), counts)


def test_searches_of_two_views_drop_what_repeats(scene: Scene) -> None:
    from uosam.stages.global_region import search
    from uosam.stages.proposals import grid_points

    backend = FakeBackend()
    searches = [search(backend.embed(scene.image), backend, GRID) for _ in range(2)]
    for one in searches:
        one.ask(grid_points((64, 96), 8))
    single, _ = searches[0].best(0.7)
    assert np.array_equal(best_of(searches, 0.7)[0], single)


@pytest.mark.parametrize(
    ("guide", "changes", "error", "message"),
    [
        ("image", {"grid": 0}, ConfigError, "which global_region.grid=0 leaves out"),
        (None, {"picture": "guide"}, ConfigError, "picture=guide needs a guide, got none"),
        (None, {"picture": "both"}, ConfigError, "picture=both needs a guide, got none"),
        ("small", {}, InputError, r"must be \(64, 96, 3\) uint8 like its picture, got \(32, 96"),
        ("float", {}, InputError, "float64"),
        ("holes", {}, InputError, r"holes of a guide must be \(64, 96\)"),
    ],
)
def test_what_does_not_go_together_is_refused(
    scene: Scene, guide: str | None, changes: dict[str, Any], error: type, message: str
) -> None:
    guides = {
        None: None,
        "image": scene.image,
        "small": scene.image[::2],
        "float": scene.image / 255,
        "holes": Guide(image=scene.image, holes=np.zeros((2, 2), bool)),
    }
    with pytest.raises(error, match=message):
        run(scene, guides[guide], **changes)


@pytest.mark.parametrize("name", ["picture", "uncovered"])
def test_names_of_options_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown global_region.{name} 'depth'"):
        GlobalRegionOptions(**{name: "depth"})  # type: ignore[arg-type]
