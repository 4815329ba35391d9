"""The procedures whose speed is compared, each measured in a process of its own."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import torch
from segment_anything import sam_model_registry
from torch.utils.flop_counter import FlopCounterMode
from uosam.baselines.paper_script import refine_paper_script
from uosam.baselines.proposal_vote import refine_proposal_vote
from uosam.baselines.samrefiner import refine_samrefiner

from uosam.backends import BackendOptions, load_backend
from uosam.backends.sam.backend import SamBackend, load
from uosam.backends.sam.builders import BUILDERS
from uosam.bench.cell import peak_memory
from uosam.config import examples_folder, load_config
from uosam.io.codecs import encode_labels, read_labels
from uosam.io.images import read_image
from uosam.pipeline import refine
from uosam.structures import Embedding, Image, LabelMap, Prompts, Proposals


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one process measures.

    Attributes:
        procedure: key of ``PROCEDURES``.
        model: key of the SAM backends.
        checkpoint: its weights file.
        picture: name of an example.
        precision: of the backend.
        repeats: timed runs after a warm-up; 0 times the first run.
        settings: for the procedure.
    """

    procedure: str
    model: str
    checkpoint: Path
    picture: str
    precision: str = "float32"
    repeats: int = 3
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False, kw_only=True)
class Timed:
    """A backend whose two methods are timed and counted."""

    backend: SamBackend
    seconds: dict[str, float] = field(default_factory=dict)
    prompts: int = 0
    answers: int = 0

    def embed(self, image: Image) -> Embedding:
        """Encode, on the clock."""
        with _clock(self.seconds, "encode"):
            return self.backend.embed(image)

    def decode(self, embedding: Embedding, prompts: Prompts, **limits: Any) -> Proposals:
        """Decode, on the clock."""
        with _clock(self.seconds, "decode"):
            found = self.backend.decode(embedding, prompts, **limits)
        self.prompts += len(prompts)
        self.answers += len(found)
        return found


@contextmanager
def _clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def _script(
    timed: Timed, image: Image, coarse: LabelMap, *, grid: int = 64
) -> tuple[LabelMap, dict[str, float]]:
    """Run the published procedure, timing the modules of the network themselves."""
    seconds: dict[str, float] = {}
    started: dict[str, float] = {}
    network = timed.backend.sam
    hooks = []
    for module, name in (
        (network.image_encoder, "encode"),
        (network.prompt_encoder, "decode"),
        (network.mask_decoder, "decode"),
    ):

        def begin(_module: Any, _inputs: Any, name: str = name) -> None:
            started[name] = time.perf_counter()

        def end(_module: Any, _inputs: Any, found: Any, name: str = name) -> None:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started[name]

        hooks += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]

    def count(_module: Any, _inputs: Any, found: Any) -> None:
        timed.prompts += len(found[1])

    hooks.append(network.mask_decoder.register_forward_hook(count))
    labels = refine_paper_script(image, coarse, timed.backend, grid=grid)
    for hook in hooks:
        hook.remove()
    return labels, seconds


def _ours(
    timed: Timed, image: Image, coarse: LabelMap, *, changes: Sequence[str]
) -> tuple[LabelMap, dict[str, float]]:
    result = refine(image, coarse, timed, load_config("sam", changes).refine)
    return result.labels, dict(result.seconds)


def _baseline(
    function: Callable[..., LabelMap], timed: Timed, image: Image, coarse: LabelMap, **settings: Any
) -> tuple[LabelMap, dict[str, float]]:
    return function(image, coarse, timed, **settings), dict(timed.seconds)


PROCEDURES: dict[str, Callable[..., tuple[LabelMap, dict[str, float]]]] = {
    "script": _script,
    "samrefiner": partial(_baseline, refine_samrefiner),
    "ssa": partial(_baseline, refine_proposal_vote),
    "uosam": _ours,
}
"""Name to a function of backend, picture and coarse map that returns labels and seconds."""


def read_example(name: str) -> tuple[Image, LabelMap]:
    """Read a picture that comes with the package, and its coarse map."""
    folder = examples_folder()
    coarse = read_labels(folder / "coarse" / f"{name}.png").labels
    return read_image(folder / "images" / f"{name}.jpg"), coarse


def measure(task: Task) -> dict[str, Any]:
    """Run one procedure on one picture in this process; returns numbers and ``labels``."""
    torch.set_num_threads(os.cpu_count() or 1)
    backend = load(
        BackendOptions(
            name=task.model,
            checkpoint=str(task.checkpoint),
            device="cpu",
            precision="bfloat16" if task.precision == "bfloat16" else "float32",
        )
    )
    image, coarse = read_example(task.picture)
    run = PROCEDURES[task.procedure]
    found: dict[str, Any] = {}
    if task.repeats:
        # The counter does not know the encoder's einsum in bfloat16; it is the same arithmetic.
        counter = FlopCounterMode(display=False) if task.precision == "float32" else None
        with counter or nullcontext():
            run(Timed(backend=backend), image, coarse, **task.settings)
        if counter:
            found["tflop"] = counter.get_total_flops() / 1e12
    times = []
    for _ in range(max(1, task.repeats)):
        timed = Timed(backend=backend)
        start, used = time.perf_counter(), time.process_time()
        labels, stages = run(timed, image, coarse, **task.settings)
        wall = time.perf_counter() - start
        cores = (time.process_time() - used) / wall
        times.append((wall, cores, stages))
    times.sort(key=lambda entry: entry[0])
    wall, cores, stages = times[len(times) // 2]
    return {
        **{k: v for k, v in asdict(task).items() if k not in ("checkpoint", "repeats")},
        **found,
        "runs": len(times),
        "seconds": wall,
        "seconds_least": times[0][0],
        "cores_used": cores,
        "stages": {**stages, "rest": wall - sum(stages.values())},
        "prompts": timed.prompts,
        "answers": timed.answers,
        "peak_mb": peak_memory(),
        "labels": labels,
    }


def measure_end_to_end(picture: str, repeats: int) -> dict[str, Any]:
    """Refine one picture, from its files to the encoded mask, with the default settings."""
    torch.set_num_threads(os.cpu_count() or 1)
    config = load_config()
    backend = load_backend(config.backend)
    mask = examples_folder() / "coarse" / f"{picture}.png"
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        start = time.perf_counter()
        image, file = read_example(picture)[0], read_labels(mask)
        result = refine(image, file.labels, backend, config.refine)
        encode_labels(".png", result.labels, file.spec)
        times.append(time.perf_counter() - start)
    times = sorted(times[1:])
    return {
        "model": config.backend.name,
        "hw": image.shape[:2],
        "seconds": times[repeats // 2],
        "seconds_least": times[0],
        "peak_mb": peak_memory(),
    }


def count_script(model: str) -> dict[str, float]:
    """Count TFLOP of one encoding and of one point in the package's own decoder."""
    network = BUILDERS[model]().eval()
    side = network.image_encoder.img_size
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        features = network.image_encoder(torch.zeros(1, 3, side, side))
    encode = counter.get_total_flops() / 1e12
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        sparse, dense = network.prompt_encoder(
            points=(torch.zeros(1, 1, 2), torch.ones(1, 1)), boxes=None, masks=None
        )
        network.mask_decoder(
            features, network.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=True
        )
    return {"encode": encode, "point": counter.get_total_flops() / 1e12}


def reload_seconds(checkpoint: Path, model: str, repeats: int) -> float:
    """Time building a network from its file as the published program does; the least time."""
    options = BackendOptions(name=model, checkpoint=str(checkpoint), device="cpu")
    build = sam_model_registry.get(model, lambda checkpoint: load(options))
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        build(checkpoint=str(checkpoint))
        best = min(best, time.perf_counter() - start)
    return best


def gflops(dtype: torch.dtype, side: int = 2048, repeats: int = 8) -> float:
    """Measure the machine's rate of arithmetic by a product of matrices, in GFLOP/s."""
    torch.set_num_threads(os.cpu_count() or 1)
    first, second = (torch.randn(side, side).to(dtype) for _ in range(2))
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        first @ second
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best / 1e9


def _end_with_parent() -> None:
    """End this process with its parent: one that computes on would spoil the next measurement."""
    parent = parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a fresh process, whose peak memory is then its own."""
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_end_with_parent) as pool:
        return pool.submit(function, *arguments).result()
