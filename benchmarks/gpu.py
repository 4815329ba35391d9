"""Speed on an accelerator: stages, proposals and whole folders, one model after the other.

``python -m benchmarks.gpu`` takes less than three minutes on a large GPU: what is not begun by then
is left out, and said. Every row is appended to ``benchmarks/results/gpu.jsonl`` as soon as it is
known, so that a run that is cut off keeps what it has. ``--device cpu --models tiny --pictures 4``
tries the program where there is none. SAMs have seeded weights with which they do the work of
trained ones (``speed_weights``).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from uosam.baselines.paper_script import refine_paper_script

from benchmarks.speed import facts, store
from benchmarks.speed_procedures import read_example
from benchmarks.speed_weights import build_seeded
from benchmarks.workers import write_copies
from uosam.backends import BackendOptions, load_backend
from uosam.backends.sam.backend import SamBackend
from uosam.config import Config, load_config
from uosam.io.pairs import find_pairs
from uosam.pipeline import refine
from uosam.runs.refine import refine_folder
from uosam.stages.everything import EverythingOptions, find_everything
from uosam.structures import Image, LabelMap

RESULTS = Path(__file__).parent / "results" / "gpu.jsonl"
MODELS = ("tiny", "vit_h", "vit_b")
EXAMPLES = ("astronaut", "camera", "chelsea", "coffee", "rocket")
BATCH = 8
SECONDS = 165.0
_LOOSE = ["min_score=0.5", "min_stability=0.5"]  # seeded weights pass half of their masks


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """How much is measured.

    Attributes:
        pictures: in a folder.
        repeats: of what is timed alone; medians are given.
        grid: points a side for proposals; 18 gives 324.
        folders: numbers of workers and of pictures in a batch.
        published: points a side of the published search, a multiple of 4; 0 leaves the procedure
            out.
    """

    pictures: int = 200
    repeats: int = 10
    grid: int = 18
    folders: Sequence[tuple[int, int]] = ((1, 1), (1, 16))
    published: int = 16


def measure_model(
    name: str, precision: str, device: str, *, checkpoint: Path | None, amounts: Amounts
) -> Iterator[dict[str, Any]]:
    """Yield rows about one model: encoder, stages, proposals, folders, and the published procedure.

    Args:
        name: of a SAM.
        precision: float32 or bfloat16.
        device: of torch.
        checkpoint: weights of the model; None for those of the package.
        amounts: how much.
    """
    given = [f"backend.name={name}", f"backend.device={device}", f"backend.precision={precision}"]
    given += [] if checkpoint is None else [f"backend.checkpoint={checkpoint}"]
    base = None if name == "tiny" else "sam"
    config = load_config(base, given)
    about = {"model": name, "precision": precision, "tf32": config.backend.tf32}
    backend = load_backend(config.backend)
    assert isinstance(backend, SamBackend)
    yield from ({**about, **row} for row in _encoder(backend, amounts.repeats))
    images = [read_example(example) for example in EXAMPLES[: max(1, amounts.repeats)]]
    embedding = _median(lambda: backend.embed(images[0][0]), backend.device, amounts.repeats)
    yield {**about, "part": "embed", "ms_a_picture": 1000 * embedding}
    search = [f"global_region.{setting}" for setting in (f"grid={amounts.grid}", *_LOOSE)]
    ours = 0.0
    for part, more in (("stages", []), ("proposals", search)):
        options = load_config(base, [*given, *more]).refine
        stages: dict[str, list[float]] = {}
        for image, coarse in images:
            refine(image, coarse, backend, options)
            for stage, seconds in refine(image, coarse, backend, options).seconds.items():
                stages.setdefault(stage, []).append(seconds)
        medians = {stage: 1000 * statistics.median(times) for stage, times in stages.items()}
        ours = sum(medians.values()) / 1000
        points = amounts.grid**2 if more else 0
        yield {**about, "part": part, "points": points, "ms_a_picture": medians}
    everything = EverythingOptions(grid=amounts.grid, min_score=0.5, min_stability=0.5)
    taken = _median(
        lambda: find_everything(images[0][0], backend, everything),
        backend.device,
        min(3, amounts.repeats),
    )
    yield {**about, "part": "everything", "points": amounts.grid**2, "ms_a_picture": 1000 * taken}
    for workers, batch in amounts.folders:
        row = _folder(config, amounts.pictures, workers, batch)
        yield {**about, "part": "folder", "workers": workers, "batch": batch, **row}
    if amounts.published:
        whole = _published(*images[0], backend, amounts.published)
        yield {**about, "part": "published", "seconds": whole, "times_slower": whole / ours}
    if backend.device.type != "cpu":
        yield {**about, **_compiled(config.backend)}


def _encoder(backend: SamBackend, repeats: int) -> Iterator[dict[str, Any]]:
    """Time the image encoder for one picture and for several."""
    side = backend.sam.image_encoder.img_size
    for amount in (1, BATCH):
        batch = torch.zeros((amount, 3, side, side), device=backend.device)

        def encode(batch: torch.Tensor = batch) -> None:
            with torch.inference_mode(), backend._precision():
                backend.sam.image_encoder(batch)

        taken = _median(encode, backend.device, repeats) / amount
        yield {"part": "encoder", "batch": amount, "ms_a_picture": 1000 * taken}


def _published(image: Image, coarse: LabelMap, backend: SamBackend, grid: int) -> float:
    """Estimate the seconds of the published procedure from two smaller searches.

    It asks 64 points a side, and half of that in four crops; what it encodes does not grow.
    """
    sides = grid // 2, grid
    few, many = (
        _once(partial(refine_paper_script, image, coarse, backend, grid=side), backend.device)
        for side in sides
    )
    a_point = (many - few) / (sides[1] ** 2 - sides[0] ** 2)
    return many + a_point * (64**2 - grid**2)


def _compiled(options: BackendOptions) -> dict[str, Any]:
    """Time the compiled encoder, whose attention has its positions inside the kernel."""
    start = time.perf_counter()
    backend = load_backend(replace(options, compile=True))
    assert isinstance(backend, SamBackend)
    (*_, row) = _encoder(backend, 5)
    return {**row, "part": "encoder, compiled", "seconds": time.perf_counter() - start}


def _once(work: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _median(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    work()
    return statistics.median(_once(work, device) for _ in range(repeats))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _folder(config: Config, pictures: int, workers: int, batch: int) -> dict[str, Any]:
    """Refine a folder of copies of the examples, files included.

    Workers start in seconds, so their pace is that after the first quarter of the pictures.
    """
    engine = load_config(None, [f"engine.workers={workers}", f"engine.batch={batch}"]).engine
    with tempfile.TemporaryDirectory() as place:
        write_copies(Path(place), pictures)
        pairs = find_pairs(Path(place, "images"), Path(place, "masks"))
        made = Config(backend=config.backend, refine=config.refine, engine=engine)
        done: list[float] = []
        with _busy_share() as busy:
            start = time.perf_counter()
            run = refine_folder(
                pairs,
                Path(place, "out"),
                made,
                on_outcome=lambda outcome: done.append(time.perf_counter()),
            )
            wall = time.perf_counter() - start
    assert not run.failures, run.failures
    first = pictures // 4
    pace = (pictures - 1 - first) / max(1e-9, done[-1] - done[first])
    return {
        "pictures": pictures,
        "pictures_a_second": pace,
        "with_start": pictures / wall,
        "gpu_busy": statistics.mean(busy[len(busy) // 4 :]) if busy else None,
    }


@contextmanager
def _busy_share() -> Iterator[list[float]]:
    """Sample how much of the time the GPU was at work; nothing where no driver says."""
    found: list[float] = []
    line = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        watch = subprocess.Popen([*line, "-lms", "100"], stdout=subprocess.PIPE, text=True)
    except OSError:
        yield found
        return
    try:
        yield found
    finally:
        watch.terminate()
        said, _ = watch.communicate()
        found += [float(share) / 100 for share in said.split() if share.isdigit()]


def plan(names: Sequence[str], pictures: int, cores: int) -> list[tuple[str, str, Amounts]]:
    """List models, precisions and amounts, what the aims are about first.

    Args:
        names: of models.
        pictures: in a folder of the default model; others get fewer.
        cores: of the machine.
    """
    many = sorted({1, max(1, cores // 2), cores})
    small = Amounts(
        pictures=pictures, folders=[(1, 16), *((count, 1) for count in reversed(many)), (cores, 4)]
    )
    large = Amounts(pictures=max(4, pictures // 3), folders=[(1, 8), (2, 8)], published=0)
    alone = replace(large, folders=())
    first = {"tiny": ("float32", small), "vit_h": ("bfloat16", large), "vit_b": ("bfloat16", large)}
    found = [(name, *first[name]) for name in names]
    other = {"float32": "bfloat16", "bfloat16": "float32"}
    return found + [(name, other[first[name][0]], replace(alone)) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--pictures", type=int, default=200, help="in each folder")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="workers at most")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which none is begun")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    machine = {"device": arguments.device, "torch": torch.__version__, "cores": arguments.cores}
    if arguments.device.startswith("cuda"):
        machine["gpu"] = torch.cuda.get_device_name(arguments.device)
    with tempfile.TemporaryDirectory() as place:
        for name, precision, amounts in plan(arguments.models, arguments.pictures, arguments.cores):
            if time.monotonic() > end:
                print(f"no time left for {name} in {precision}", flush=True)
                continue
            checkpoint = None if name == "tiny" else Path(place, f"{name}.pth")
            if checkpoint is not None and not checkpoint.exists():
                network = build_seeded(name, read_example("astronaut")[0], arguments.device)
                torch.save(network.state_dict(), checkpoint)
                del network
            amounts = replace(amounts, repeats=arguments.repeats)
            for row in measure_model(
                name, precision, arguments.device, checkpoint=checkpoint, amounts=amounts
            ):
                print(json.dumps(row), flush=True)
                if not arguments.dry_run:
                    store(RESULTS, {**row, **facts(), **machine})
                if time.monotonic() > end:
                    print(f"no time left for the rest of {name} in {precision}", flush=True)
                    break


if __name__ == "__main__":
    main()
