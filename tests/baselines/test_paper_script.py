"""The published program's way of computing: as many steps as it takes, results as in the paper."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from uosam.baselines.paper import refine_paper
from uosam.baselines.paper_script import refine_paper_script

from tests.conftest import Scene
from tests.small_sam import build_small_sam
from uosam.backends.sam.backend import SamBackend
from uosam.baselines import paper, paper_script
from uosam.config import load_config
from uosam.errors import InputError
from uosam.structures import IGNORE


@pytest.fixture(scope="module")
def backend() -> SamBackend:
    return SamBackend(sam=build_small_sam(), device=torch.device("cpu"))


@pytest.fixture
def steps(backend: SamBackend):
    """Count encodings and the prompts that are decoded."""
    counts: Counter[str] = Counter()
    hooks = [
        backend.sam.image_encoder.register_forward_hook(
            lambda _, inputs, __: counts.update(encoded=len(inputs[0]))
        ),
        backend.sam.mask_decoder.register_forward_hook(
            lambda _, __, found: counts.update(decoded=len(found[1]))
        ),
    ]
    yield counts
    for hook in hooks:
        hook.remove()


def test_objects_are_redrawn_as_the_paper_does(
    backend: SamBackend, scene: Scene, steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seeded weights draw nothing that resembles an object; the paper's test would keep none of it.
    options = load_config("paper", ["local_region.min_agreement=0"]).refine
    monkeypatch.setattr(paper, "_options", lambda: options)
    monkeypatch.setattr(paper_script, "_options", lambda: options)
    labels = refine_paper_script(scene.image, scene.coarse, backend, grid=0)
    assert steps == {"encoded": 4, "decoded": 4}
    expected = refine_paper(scene.image, scene.coarse, backend, grid=0)
    assert (labels == expected).mean() > 0.9999
    assert (labels != scene.coarse).any()


def test_the_search_takes_the_picture_and_its_crops(
    backend: SamBackend, scene: Scene, steps
) -> None:
    coarse = scene.coarse.copy()
    coarse[:6, :20] = IGNORE
    labels = refine_paper_script(scene.image, coarse, backend, grid=4)
    assert steps == {"encoded": 4 + 5, "decoded": 4 + 4 * 4 + 4 * 2 * 2}
    assert np.array_equal(labels == IGNORE, coarse == IGNORE)
    assert set(np.unique(labels)) <= {IGNORE, 0, 1, 2}
    steps.clear()
    refine_paper_script(scene.image, coarse, backend, grid=2, crop_layers=0)
    assert steps == {"encoded": 4 + 1, "decoded": 4 + 4}


def test_the_network_is_built_anew_as_often_as_the_program_does(
    backend: SamBackend, scene: Scene
) -> None:
    built = []

    def reload():
        built.append(1)
        return backend.sam

    plain = refine_paper_script(scene.image, scene.coarse, backend, grid=2, crop_layers=0)
    again = refine_paper_script(
        scene.image, scene.coarse, backend, grid=2, crop_layers=0, reload=reload
    )
    assert len(built) == 3
    assert np.array_equal(again, plain)


def test_segments_vote_over_the_redrawn_map(
    backend: SamBackend, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = refine_paper_script(scene.image, scene.coarse, backend, grid=0)
    corner = np.zeros((1, 64, 96), bool)
    corner[:, 20:40, 60:90] = True
    monkeypatch.setattr(paper_script, "_search", lambda *_: corner)
    labels = refine_paper_script(scene.image, scene.coarse, backend)
    assert set(labels[corner[0]]) == {np.bincount(local[corner[0]]).argmax()}
    assert np.array_equal(labels[~corner[0]], local[~corner[0]])
    # A vote that leaves one label is thrown away.
    monkeypatch.setattr(paper_script, "_search", lambda *_: np.ones((1, 64, 96), bool))
    assert np.array_equal(refine_paper_script(scene.image, scene.coarse, backend), local)


def test_small_and_missing_objects_are_left_alone(backend: SamBackend, scene: Scene) -> None:
    coarse = np.zeros_like(scene.coarse)
    coarse[:5, :5] = 3
    assert np.array_equal(refine_paper_script(scene.image, coarse, backend, grid=0), coarse)
    with pytest.raises(InputError, match="64 x 96"):
        refine_paper_script(scene.image, coarse[:50], backend)
