"""Several pictures at a time: one batch, the same answers, and errors that hit only their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from tests.conftest import Scene
from tests.fakes import FakeBackend
from tests.small_sam import build_small_sam, make_prompts, picture
from uosam.backends.batching import decode_across
from uosam.backends.sam.absorbed import AbsorbedDecoder
from uosam.backends.sam.backend import SamBackend
from uosam.backends.sharing import BatchingBackend, work_together
from uosam.config import Config, load_config
from uosam.errors import BackendError, ConfigError, InputError
from uosam.io.pairs import find_pairs
from uosam.runs.refine import refine_folder
from uosam.runs.summary import Run
from uosam.stages.proposals import limits_of
from uosam.structures import Backend, Prompts, Proposals

SIZES = [(60, 90), (90, 60), (64, 64)]


@pytest.fixture(scope="module")
def backend() -> SamBackend:
    return SamBackend(sam=build_small_sam(), device=torch.device("cpu"), batch_size=5)


def equal(found: Proposals, alone: Proposals) -> None:
    assert found.row.tolist() == alone.row.tolist()
    np.testing.assert_allclose(found.logits, alone.logits, atol=1e-4)
    np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)
    assert (found.masks == alone.masks).mean() > 0.9999


def test_pictures_of_any_sizes_are_encoded_together(backend: SamBackend) -> None:
    images = [picture(hw, seed) for seed, hw in enumerate(SIZES)]
    for image, found in zip(images, backend.embed_several(images), strict=True):
        alone = backend.embed(image)
        assert found.image_hw == alone.image_hw
        assert found.extent == alone.extent
        np.testing.assert_allclose(found.features, alone.features, atol=1e-5)


def test_who_shares_a_backend_sees_its_own_limits() -> None:
    strict = SamBackend(sam=build_small_sam(), device=torch.device("cpu"), point_limits=(0.7, 0.5))
    assert work_together([limits_of, limits_of], strict) == [(0.7, 0.5)] * 2


def uneven(hw: tuple[int, int]) -> Prompts:
    """Four rows with masks, the second without its second point."""
    prompts = make_prompts(4, points=2, boxes=True, logits=True, hw=hw, seed=7)
    prompts.point_labels[1, 1] = -1
    return prompts


@pytest.mark.parametrize("limits", [{}, {"multimask": False}, {"min_score": 0.5}])
def test_answers_do_not_depend_on_the_company(
    backend: SamBackend, monkeypatch: pytest.MonkeyPatch, limits: dict[str, float]
) -> None:
    embeddings = [backend.embed(picture(hw, seed)) for seed, hw in enumerate(SIZES)]
    asked = [
        make_prompts(3, points=2, boxes=True, logits=True, hw=SIZES[0]),
        uneven(SIZES[1]),
        make_prompts(2, points=1, hw=SIZES[2]),
    ]
    sizes = []
    decode = AbsorbedDecoder.decode

    def counted(self, picture, sparse, dense, **more):  # type: ignore[no-untyped-def]
        sizes.append(len(sparse))
        return decode(self, picture, sparse, dense, **more)

    with monkeypatch.context() as patch:
        patch.setattr(AbsorbedDecoder, "decode", counted)
        found = backend.decode_several(list(zip(embeddings, asked, strict=True)), **limits)
    # Six rows of two points in batches of five, one row of one point, and two without masks.
    assert sizes == [5, 1, 1, 2]
    for embedding, prompts, answer in zip(embeddings, asked, found, strict=True):
        equal(answer, backend.decode(embedding, prompts, **limits))


@pytest.mark.parametrize("limits", [{}, {"multimask": False}, {"min_score": 0.5}])
@torch.inference_mode()
def test_few_prompts_without_masks_are_answered_together_on_an_accelerator(
    backend: SamBackend, monkeypatch: pytest.MonkeyPatch, limits: dict[str, float]
) -> None:
    embeddings = [backend.embed(picture(hw, seed)) for seed, hw in enumerate(SIZES)]
    asked = [
        make_prompts(2, points=1, hw=SIZES[0]),
        make_prompts(3, points=1, hw=SIZES[1]),
        make_prompts(4, points=1, hw=SIZES[2]),
    ]
    sizes = []
    decode_parts = SamBackend._decode_parts

    def counted(self, parts, *more):  # type: ignore[no-untyped-def]
        sizes.append([len(part.rows) for part in parts])
        return decode_parts(self, parts, *more)

    pairs = list(zip(embeddings, asked, strict=True))
    with monkeypatch.context() as patch:
        patch.setattr(SamBackend, "_decode_parts", counted)
        found = decode_across(
            pairs,
            lambda parts: backend._decode_parts(
                parts,
                bool(limits.get("multimask", True)),
                limits.get("min_score", 0.0),
                0.0,
            ),
            lambda *one: backend.decode(*one, **limits),
            5,
            few=3,
        )
    assert sizes == [[2, 3], [4]]  # the four are many, and answered alone
    for (embedding, prompts), answer in zip(pairs, found, strict=True):
        equal(answer, backend.decode(embedding, prompts, **limits))


class Counting(FakeBackend):
    """Notes who was answered together."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []

    def embed_several(self, images):  # type: ignore[no-untyped-def]
        self.batches.append(("embed", [int(image[0, 0, 0]) for image in images]))
        return [self.embed(image) for image in images]

    def decode_several(self, asked, **limits):  # type: ignore[no-untyped-def]
        self.batches.append(("decode", [int(embedding.state[0, 0, 0]) for embedding, _ in asked]))
        return [self.decode(embedding, prompts, **limits) for embedding, prompts in asked]


def asking(number: int, times: int, **limits: float):  # type: ignore[no-untyped-def]
    def work(backend: Backend) -> int:
        image = np.full((32, 48, 3), number, np.uint8)
        embedding = backend.embed(image)
        for _ in range(times):
            found = backend.decode(embedding, make_prompts(2, points=1, hw=(32, 48)), **limits)
            assert found.masks.shape[1:] == (32, 48)
        return number

    return work


def test_a_batch_is_whoever_is_still_at_work() -> None:
    backend = Counting()
    works = [asking(0, 1), asking(1, 3), asking(2, 2)]
    assert work_together(works, backend) == [0, 1, 2]
    assert backend.batches == [
        ("embed", [0, 1, 2]),
        ("decode", [0, 1, 2]),
        ("decode", [1, 2]),
        ("decode", [1]),
    ]


def test_only_like_questions_are_put_together() -> None:
    backend = Counting()
    work_together([asking(0, 1), asking(1, 1, min_score=0.5), asking(2, 1)], backend)
    assert backend.batches == [("embed", [0, 1, 2]), ("decode", [0, 2]), ("decode", [1])]


class Full(Counting):
    """Has memory for one at a time, and no answer for picture 1."""

    def embed_several(self, images):  # type: ignore[no-untyped-def]
        raise BackendError("not enough memory")

    def decode_several(self, asked, **limits):  # type: ignore[no-untyped-def]
        raise BackendError("not enough memory")

    def embed(self, image):  # type: ignore[no-untyped-def]
        if image[0, 0, 0] == 1:
            raise InputError("picture 1 is odd")
        return super().embed(image)


def test_what_cannot_be_done_together_is_done_one_by_one() -> None:
    def tolerant(number: int):  # type: ignore[no-untyped-def]
        def work(backend: Backend) -> str:
            try:
                return str(asking(number, 2)(backend))
            except InputError as error:
                return str(error)

        return work

    found = work_together([tolerant(0), tolerant(1), tolerant(2)], Full())
    assert found == ["0", "picture 1 is odd", "2"]
    with pytest.raises(InputError, match="picture 1 is odd"):
        work_together([asking(0, 1), asking(1, 1)], Full())


def load(options: object) -> SamBackend:
    """Serve as ``-s backend.name=tests.backends.test_sharing:load``."""
    return SamBackend(sam=build_small_sam(), device=torch.device("cpu"))


def refined(root: Path, name: str, *settings: str) -> Run:
    config: Config = load_config(
        overrides=["backend.name=tests.backends.test_sharing:load", *settings]
    )
    return refine_folder(find_pairs(root / "images", root / "masks"), root / name, config)


def test_a_folder_in_batches_is_the_folder_one_by_one(
    tmp_path: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(5):
        for kind, array in (("images", scene.image), ("masks", scene.coarse.astype(np.uint8))):
            path = tmp_path / kind / f"p{index}.png"
            path.parent.mkdir(exist_ok=True)
            PIL.Image.fromarray(np.roll(array, 7 * index, axis=1)).save(path)
    (tmp_path / "masks/p3.png").write_bytes(b"no picture")
    together = []
    embed_several = SamBackend.embed_several

    def counted(self, images):  # type: ignore[no-untyped-def]
        together.append(len(images))
        return embed_several(self, images)

    free = ["local_region.gate=false"]  # random weights would redraw nothing
    alone = refined(tmp_path, "one", *free)
    with monkeypatch.context() as patch:
        patch.setattr(SamBackend, "embed_several", counted)
        done = refined(tmp_path, "three", "engine.batch=3", *free)
    assert together == [3, 1]  # p3 has no mask, p4 is alone
    assert list(alone.failures) == list(done.failures) == ["p3"]
    assert done.counts["accepted"] == alone.counts["accepted"] > 0
    for index in (0, 1, 2, 4):
        maps = []
        for folder in ("one", "three"):
            with PIL.Image.open(tmp_path / folder / f"p{index}.png") as file:
                maps.append(np.asarray(file))
        assert (maps[0] == maps[1]).mean() > 0.9999
    assert refined(tmp_path, "three", *free).skipped == 4


def test_a_backend_that_knows_one_picture_only_is_asked_one_by_one() -> None:
    assert isinstance(Counting(), BatchingBackend)
    assert not isinstance(FakeBackend(), BatchingBackend)


def test_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"engine.batch must be at least 1, got 0"):
        load_config(overrides=["engine.batch=0"])
