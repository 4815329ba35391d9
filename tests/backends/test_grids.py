"""Masks that are made when somebody asks, on a CPU and as on an accelerator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import Scene
from tests.small_sam import build_small_sam, make_prompts, picture
from uosam.backends import batching, grids
from uosam.backends.grids import DeviceMasks, Enlargement, GridLogits, GridMasks, fetched, logits_of
from uosam.backends.sam.backend import SamBackend
from uosam.config import load_config
from uosam.demand import PackedMask
from uosam.pipeline import refine
from uosam.stages.global_region import GlobalRegionOptions
from uosam.stages.votes import vote
from uosam.structures import Embedding, Proposals

HW = (60, 90)


class Copies:
    """What was copied to the host, and that nothing is read there without a copy."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.amount = 0
        self._known: set[int] = set()
        self._kept: list[torch.Tensor] = []
        cpu, numpy = torch.Tensor.cpu, torch.Tensor.numpy

        def copied(tensor: torch.Tensor) -> torch.Tensor:
            found = cpu(tensor).clone()
            self.shapes.append(tuple(tensor.shape))
            self.amount += tensor.numel() * tensor.element_size()
            self._known.add(id(found))
            self._kept.append(found)  # so that no other tensor gets its id
            return found

        def read(tensor: torch.Tensor) -> Any:
            assert id(tensor) in self._known, f"{tuple(tensor.shape)} was read where it lies"
            return numpy(tensor)

        for module in (batching, grids):
            monkeypatch.setattr(module, "on_host", lambda tensor: False)
        monkeypatch.setattr(torch.Tensor, "cpu", copied)
        monkeypatch.setattr(torch.Tensor, "numpy", read)


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Copies:
    """Take what is computed here for what lies on an accelerator."""
    return Copies(monkeypatch)


@pytest.fixture(params=["host", "accelerator"])
def place(request: pytest.FixtureRequest) -> str:
    if request.param == "accelerator":
        request.getfixturevalue("accelerator")
    return str(request.param)


def blobs(amount: int, side: int = 64) -> torch.Tensor:
    """(M, side, side) logits of masks of all sizes, some of them empty."""
    generator = torch.Generator().manual_seed(0)
    noise = 4 * torch.randn(amount, 1, side // 8, side // 8, generator=generator)
    noise += 8 * torch.randn(amount, 1, 1, 1, generator=generator)
    large = torch.nn.functional.interpolate(noise, (side, side), mode="bicubic")[:, 0]
    large[0, 20, 20:22], large[1] = 0.5, -1  # two cells alone, and nothing
    return large.contiguous()


def enlargement(hw: tuple[int, int], side: int = 256) -> Enlargement:
    rows, cols = (max(1, round(side * size / max(hw))) for size in hw)
    return Enlargement(
        enlarge=lambda some: batching.enlarge_padded(some, side, (rows, cols), hw),
        covered=(rows / side, cols / side),
        image_hw=hw,
    )


@pytest.mark.parametrize("hw", [HW, (200, 333), (1, 1), (3, 200), (64, 64)])
def test_sizes_are_told_without_making_most_masks(place: str, hw: tuple[int, int]) -> None:
    logits, how = blobs(24), enlargement(hw)
    areas = how.masks(logits).sum((1, 2)).tolist()
    made = []
    counting = Enlargement(
        enlarge=lambda some: made.append(len(some)) or how.enlarge(some),  # type: ignore[func-returns-value]
        covered=how.covered,
        image_hw=hw,
    )
    masks = GridMasks(logits=logits, how=counting)
    for pixels in (0, 1, max(1, hw[0] * hw[1] // 100), int(np.median(areas)), max(areas) + 1):
        made.clear()
        assert masks.have(pixels).tolist() == [area >= pixels for area in areas]
        if pixels <= 1 and hw == (200, 333):
            assert sum(made) <= 2


@pytest.mark.parametrize("side", [16, 13])
def test_bits_are_those_of_numpy(place: str, side: int) -> None:
    logits = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))
    arrays = np.array(logits.tolist(), np.float32)
    found = Proposals(
        masks=np.zeros((3, 4, 4), bool),
        scores=np.ones(3, np.float32),
        stability=np.ones(3, np.float32),
        logits=GridLogits(logits=logits) if place == "accelerator" else arrays,
        row=np.arange(3),
    )
    for limit in (0.0, 1.0):
        expected = np.packbits((arrays > limit).reshape(3, -1), axis=1)
        assert np.array_equal(found.cut(limit), expected)
    assert np.array_equal(found.logits, arrays)
    assert np.array_equal(found.grid(2), arrays[2])


def test_held_masks_are_those_that_were_held(place: str) -> None:
    masks = GridMasks(logits=blobs(6), how=enlargement(HW))
    whole = masks.whole()
    held = [masks.hold(index) for index in (4, 0, 3)]
    assert isinstance(held[0], PackedMask) == (place == "host")
    together = held[0].together(held)
    assert len(together) == 3
    for one, index in zip(together, (4, 0, 3), strict=False):
        assert np.array_equal(one, whole[index])
        assert np.array_equal(masks[index], whole[index])


def test_masks_of_parts_are_joined_in_order() -> None:
    logits, how = blobs(5), enlargement(HW)
    parts = [GridMasks(logits=logits[some], how=how) for some in ([3, 1], [0, 4, 2])]
    joined = GridMasks.joined(parts, np.array([2, 1, 4, 0, 3]))
    assert torch.equal(joined.logits, logits)


@pytest.mark.parametrize("uncovered", ["keep", "ignore"])
@pytest.mark.parametrize("background_votes", [True, False])
def test_votes_are_counted_where_the_masks_lie(
    accelerator: Copies, background_votes: bool, uncovered: Any
) -> None:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.choice([-1, 0, 2, 7], (6, 9)), np.ones((10, 10))).astype(np.int32)
    how = enlargement(HW)
    tensor = how.masks(blobs(20))
    arrays = np.array(tensor.tolist())
    stack = DeviceMasks(masks=tensor)
    assert stack.areas().tolist() == [int(mask.sum()) for mask in arrays]
    expected = [np.bincount(labels[mask & (labels >= 0)], minlength=8) for mask in arrays]
    assert np.array_equal(stack.votes(labels), expected)
    assert stack.votes(np.full(HW, -1, np.int32)).shape == (20, 0)
    options = GlobalRegionOptions(
        min_purity=0.4, background_votes=background_votes, uncovered=uncovered
    )
    there, here = (vote(labels, masks, options, 0) for masks in (stack, arrays))
    assert np.array_equal(there, here)
    assert not np.array_equal(here, labels)


def test_features_are_fetched_once_and_when_asked_for(accelerator: Copies) -> None:
    features = torch.randn(8, 4, 6, dtype=torch.bfloat16)
    embedding = Embedding(features=fetched(features), extent=(4.0, 6.0), image_hw=(64, 96))
    assert embedding.logits_hw == (16, 24)
    assert accelerator.shapes == []
    assert embedding.features.dtype == np.float32
    assert embedding.features is embedding.features
    assert accelerator.shapes == [(8, 4, 6)]


def test_logits_of_a_cpu_are_arrays() -> None:
    assert isinstance(logits_of(torch.zeros(1, 2, 2)), np.ndarray)


@pytest.fixture(scope="module")
def backend() -> SamBackend:
    return SamBackend(sam=build_small_sam(), device=torch.device("cpu"))


def test_answers_are_the_same_and_stay_where_they_are(
    backend: SamBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = make_prompts(5, points=2, boxes=True, hw=HW)
    prompts.point_labels[1, 1] = -1  # two batches, which are joined
    here = backend.decode(backend.embed(picture(HW)), prompts, min_score=0.4)
    expected = here.masks, here.logits, here.cut(), here.have(40)
    copies = Copies(monkeypatch)
    there = backend.decode(backend.embed(picture(HW)), prompts, min_score=0.4)
    assert max(np.prod(shape) for shape in copies.shapes) < 100  # scores, rows; no pixel, no cell
    assert there.row.tolist() == here.row.tolist()
    assert np.array_equal(there.cut(), expected[2])
    assert np.array_equal(there.have(40), expected[3])
    assert np.array_equal(there.logits, expected[1])
    assert np.array_equal(there.grid(1), expected[1][1])
    assert (there.masks == expected[0]).mean() > 0.9999
    assert (there.mask(1) == expected[0][1]).mean() > 0.999


def test_a_refinement_fetches_what_won(
    backend: SamBackend, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["local_region.gate=false", "global_region.grid=4", "global_region.min_score=0.3"]
    given += ["global_region.min_stability=0.3", "global_region.min_purity=0.5"]
    options = load_config(None, given).refine
    here = refine(scene.image, scene.coarse, backend, options)
    copies = Copies(monkeypatch)
    there = refine(scene.image, scene.coarse, backend, options)
    assert (there.ids == here.ids).mean() > 0.999
    assert not np.array_equal(here.ids, here.coarse)
    assert not [shape for shape in copies.shapes if 256 in shape and 64 in shape]  # features
    hw = scene.coarse.shape
    masks = [shape for shape in copies.shapes if shape[-2:] == hw]
    rows = len(here.prompts)
    # The local stage fetches a mask a row and decode; the vote those that win one.
    assert masks == [hw] * len(masks)
    assert rows <= len(masks) <= 2 * rows + 16
