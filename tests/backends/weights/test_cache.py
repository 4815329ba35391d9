"""Encoded pictures on disk: the same answers to the bit, a bound, several processes, damage."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from segment_anything.modeling import Sam

from tests.backends.hf.test_backend import build, questions
from tests.bench_sets import write_plan, write_set
from tests.fakes import FakeBackend
from tests.small_sam import build_small_sam, make_prompts, picture
from uosam.backends import BackendOptions, load_backend
from uosam.backends.sam import backend as sam
from uosam.backends.sam.backend import SamBackend
from uosam.backends.weights.cache import EmbeddingCache, on_cpu, open_cache, remember
from uosam.bench.ablate import read_ablation, run_ablation
from uosam.bench.leaderboard import run_bench
from uosam.bench.plan import read_plan
from uosam.config import EngineOptions, load_config
from uosam.errors import ConfigError
from uosam.io.pairs import find_pairs
from uosam.runs.refine import refine_folder

OPTIONS = BackendOptions(name="tests.fakes:load")
"""Stands for the settings; the network is put into the backend by hand."""


@pytest.fixture(scope="module")
def network() -> Sam:
    return build_small_sam()


@pytest.fixture
def encoded(network: Sam) -> Iterator[list[int]]:
    """Count what is really encoded, and give the network its own encoder back."""
    counts: list[int] = []
    encoder = network.image_encoder
    own = encoder.forward

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        counts.append(1)
        return own(pixels)

    encoder.counted = encoder.forward = forward
    yield counts
    del encoder.forward, encoder.counted


def make(network: Sam, folder: Path, **settings: Any) -> tuple[SamBackend, EmbeddingCache]:
    cache = EmbeddingCache(folder=folder, max_bytes=settings.pop("max_bytes", 10**9))
    backend = SamBackend(sam=network, device=torch.device("cpu"), **settings)
    network.image_encoder.forward = network.image_encoder.counted
    precision = "bfloat16" if backend.autocast else "float32"
    assert remember(backend, replace(OPTIONS, precision=precision), cache)
    return backend, cache


@pytest.mark.parametrize("autocast", [False, True])
def test_a_remembered_picture_answers_the_same_to_the_bit(
    network: Sam, encoded: list[int], tmp_path: Path, autocast: bool
) -> None:
    backend, cache = make(network, tmp_path / "kept", autocast=autocast)
    image = picture((60, 90))
    first = backend.embed(image)
    assert len(encoded) == 1
    assert cache.balance < 0  # written, nothing gained yet
    second = backend.embed(image)
    assert len(encoded) == 1
    assert np.array_equal(first.features, second.features)
    assert (first.extent, first.image_hw) == (second.extent, second.image_hw)
    prompts = make_prompts(3, boxes=True)
    answers = [backend.decode(embedding, prompts) for embedding in (first, second)]
    for name in ("masks", "scores", "stability", "logits", "row"):
        assert np.array_equal(*(getattr(found, name) for found in answers)), name


@pytest.mark.parametrize("name", ["sam", "sam_hq", "sam2"])
def test_networks_of_transformers_are_remembered_too(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "network"
    build(name)[0].save_pretrained(folder)
    options = BackendOptions(name="hf", checkpoint=str(folder), device="cpu")
    backend = load_backend(options)
    cache = EmbeddingCache(folder=tmp_path / "kept", max_bytes=10**9)
    assert remember(backend, options, cache)
    first, second = (backend.embed(picture((60, 90))) for _ in range(2))
    assert cache.balance != 0
    assert len(list(cache.folder.iterdir())) == 1
    answers = [backend.decode(embedding, questions(2)) for embedding in (first, second)]
    assert np.array_equal(answers[0].logits, answers[1].logits)


def test_time_saved_is_told(network: Sam, encoded: list[int], tmp_path: Path) -> None:
    backend, cache = make(network, tmp_path)
    backend.embed(picture((60, 90)))
    before = cache.balance
    backend.embed(picture((60, 90)))
    assert cache.balance > before


def test_what_determines_an_encoding_is_its_key(
    network: Sam, encoded: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, _ = make(network, tmp_path)
    for image in (picture((60, 90)), picture((60, 90), seed=1), picture((61, 90))):
        backend.embed(image)
    assert len(encoded) == 3
    backend.embed(picture((60, 90), seed=1))
    assert len(encoded) == 3
    lowered, _ = make(network, tmp_path, autocast=True)
    lowered.embed(picture((60, 90)))
    assert len(encoded) == 4
    monkeypatch.setattr("uosam.backends.weights.cache.weights_digest", lambda _: "others")
    other, _ = make(network, tmp_path)
    other.embed(picture((60, 90)))
    assert len(encoded) == 5


FORGED = {
    "shape": lambda found: found[:, :, :-1],
    "number": lambda found: found.double(),
    "sparse": lambda found: found.to_sparse(),
    "list": lambda found: [found],
    "text": lambda found: "features",
}


@pytest.mark.parametrize("fresh", [False, True], ids=["seen", "fresh"])
@pytest.mark.parametrize("what", [*FORGED, "seconds"])
def test_an_encoding_of_another_shape_or_type_is_made_again(
    network: Sam, encoded: list[int], tmp_path: Path, what: str, fresh: bool
) -> None:
    backend, cache = make(network, tmp_path)
    first = backend.embed(picture((60, 90)))
    (path,) = tmp_path.iterdir()
    kept = torch.load(io.BytesIO(cache.read(path.name) or b""), weights_only=True)
    if what == "seconds":
        kept["seconds"] = "long"
    else:
        kept["found"] = FORGED[what](kept["found"])
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    cache.write(path.name, buffer.getvalue())
    if fresh:
        backend, _ = make(network, tmp_path)
    second = backend.embed(picture((60, 90)))
    assert len(encoded) == 2
    assert np.array_equal(first.features, second.features)


@pytest.mark.parametrize("damage", [b"", b"short", "cut", "flipped", "no tensors"])
def test_a_damaged_file_is_made_again(
    network: Sam, encoded: list[int], tmp_path: Path, damage: bytes | str
) -> None:
    backend, cache = make(network, tmp_path)
    first = backend.embed(picture((60, 90)))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-1000])
    elif damage == "flipped":
        path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    elif damage == "no tensors":
        cache.write(path.name, b"sound, but of somebody else")
    else:
        path.write_bytes(damage)
    second = backend.embed(picture((60, 90)))
    assert len(encoded) == 2
    assert np.array_equal(first.features, second.features)
    assert path.stat().st_size == len(whole)


def test_the_bound_holds_and_the_least_recently_used_go(tmp_path: Path) -> None:
    cache = EmbeddingCache(folder=tmp_path / "kept", max_bytes=4500)
    for index in range(4):
        cache.write(f"k{index}", bytes(1000))
        os.utime(cache.folder / f"k{index}", (index, index))
    assert cache.read("k0") == bytes(1000)  # used again: now the youngest
    cache.write("k4", bytes(1000))
    assert sorted(path.name for path in cache.folder.iterdir()) == ["k0", "k2", "k3", "k4"]
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= 4500
    cache.write("large", bytes(9000))
    assert cache.read("large") is None


def test_a_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, network: Sam, encoded: list[int]
) -> None:
    (tmp_path / "kept").touch()
    backend, _ = make(network, tmp_path / "kept")
    for _ in range(2):
        backend.embed(picture((60, 90)))
    assert len(encoded) == 2


def _stress(folder: Path, seed: int) -> None:
    cache = EmbeddingCache(folder=folder, max_bytes=400_000)
    rng = np.random.default_rng(seed)
    for _ in range(300):
        key = int(rng.integers(8))
        found = cache.read(f"k{key}")
        assert found in (None, bytes([key]) * 100_000)
        if found is None:
            cache.write(f"k{key}", bytes([key]) * 100_000)


def test_two_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_stress, args=(tmp_path, seed)) for seed in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    names = [path.name for path in tmp_path.iterdir()]
    assert names
    assert not [name for name in names if name.endswith(".tmp")]


def test_only_networks_are_remembered(tmp_path: Path) -> None:
    cache = EmbeddingCache(folder=tmp_path, max_bytes=1000)
    for backend in (load_backend(BackendOptions(name="graphcut")), FakeBackend()):
        assert not on_cpu(backend)
        assert not remember(backend, BackendOptions(), cache)
    assert open_cache(0.5).max_bytes == 500_000_000


@pytest.fixture
def small_model(network: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put the small network in vit_b's place; returns the settings that load it."""
    torch.save(network.state_dict(), tmp_path / "small.pth")
    monkeypatch.setitem(sam.BUILDERS, "vit_b", build_small_sam)
    monkeypatch.setenv("UOSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOY", str(tmp_path / "toy"))
    write_set(tmp_path / "toy", pictures=2)
    return [
        "backend.name=vit_b",
        f"backend.checkpoint={tmp_path}/small.pth",
        "backend.device=cpu",
    ]


def kept(tmp_path: Path) -> int:
    folder = tmp_path / "cache" / "embeddings"
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.mark.parametrize(("when", "count"), [("sweeps", 2), ("never", 0), ("always", 2)])
def test_benchmarks_remember_unless_told_not_to(
    small_model: list[str], tmp_path: Path, when: str, count: int
) -> None:
    plan = write_plan(
        tmp_path / "plan.yaml",
        methods={"uosam": "uosam"},
        set=[*small_model, f"engine.embedding_cache={when}"],
    )
    board = run_bench(read_plan(plan), tmp_path / "out", isolated=False)
    assert board.failed == 0
    assert kept(tmp_path) == count
    assert all(row.seconds > 0 for row in board.rows)


def test_ablations_remember(small_model: list[str], tmp_path: Path) -> None:
    path = write_plan(
        tmp_path / "plan.yaml",
        groups={"gate": {"off": ["local_region.gate=false"]}},
        set=small_model,
    )
    rows = run_ablation(read_ablation(path), tmp_path / "out", isolated=False)
    assert [row.note for row in rows] == ["", ""]
    assert kept(tmp_path) == 2


@pytest.mark.parametrize(("when", "count"), [("sweeps", 0), ("always", 2)])
def test_single_runs_remember_only_if_told_to(
    small_model: list[str], tmp_path: Path, when: str, count: int
) -> None:
    pairs = find_pairs(tmp_path / "toy/images", tmp_path / "toy/coarse")
    config = load_config(overrides=[*small_model, f"engine.embedding_cache={when}"])
    run = refine_folder(pairs, tmp_path / "out", config)
    assert dict(run.failures) == {}
    assert kept(tmp_path) == count
    with PIL.Image.open(tmp_path / "out/p0.png") as mask:
        assert mask.size == (96, 64)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"embedding_cache": "often"}, "must be sweeps, always or never, got 'often'"),
        ({"embedding_cache_gb": 0.0}, "embedding_cache_gb must be above 0, got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EngineOptions(**setting)
