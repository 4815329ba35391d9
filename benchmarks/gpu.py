"""Speed on an accelerator: stages, proposals and whole folders, one model after the other.

``python -m benchmarks.gpu`` takes some three minutes on a large GPU. Every row is appended to
``benchmarks/results/gpu.jsonl`` as soon as it is known, so that a run that is cut off keeps what it
has. ``--device cpu --models tiny`` tries the program where there is none. SAMs have seeded weights
with which they do the work of trained ones (``speed_weights``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import facts, store
from benchmarks.speed_procedures import read_example
from benchmarks.speed_weights import build_seeded
from benchmarks.workers import write_copies
from uosam.backends import load_backend
from uosam.backends.sam.backend import SamBackend
from uosam.config import Config, load_config
from uosam.io.pairs import find_pairs
from uosam.pipeline import refine
from uosam.runs.refine import refine_folder
from uosam.stages.everything import EverythingOptions, find_everything

RESULTS = Path(__file__).parent / "results" / "gpu.jsonl"
MODELS = ("tiny", "vit_b", "vit_h")
EXAMPLES = ("astronaut", "camera", "chelsea", "coffee", "rocket")
GRID = 18  # 324 points
BATCH = 8


def measure_model(
    name: str,
    precision: str,
    device: str,
    *,
    checkpoint: Path | None,
    pictures: int,
    repeats: int = 10,
    grid: int = GRID,
    workers: tuple[str, ...] = ("1", "auto"),
) -> Iterator[dict[str, Any]]:
    """Yield rows about one model: its encoder, the stages, all proposals, and folders.

    Args:
        name: of a SAM.
        precision: float32 or bfloat16.
        device: of torch.
        checkpoint: weights of the model; None for those of the package.
        pictures: in the folders.
        repeats: of what is timed alone; medians are given.
        grid: points a side for proposals.
        workers: settings of ``engine.workers`` to compare on the folder.
    """
    given = [f"backend.name={name}", f"backend.device={device}", f"backend.precision={precision}"]
    given += [] if checkpoint is None else [f"backend.checkpoint={checkpoint}"]
    config = load_config(None if name == "tiny" else "sam", given)
    backend = load_backend(config.backend)
    assert isinstance(backend, SamBackend)
    about = {"model": name, "precision": precision, "tf32": config.backend.tf32}
    images = [read_example(example) for example in EXAMPLES]
    side = backend.sam.image_encoder.img_size
    for amount in (1, BATCH):
        batch = torch.zeros((amount, 3, side, side), device=backend.device)

        def encode(batch: torch.Tensor = batch) -> None:
            with torch.inference_mode(), backend._precision():
                backend.sam.image_encoder(batch)

        taken = _median(encode, backend.device, repeats) / amount
        yield {**about, "part": "encoder", "batch": amount, "ms_a_picture": 1000 * taken}
    yield {
        **about,
        "part": "embed",
        "ms_a_picture": 1000
        * _median(lambda: backend.embed(images[0][0]), backend.device, repeats),
    }
    stages: dict[str, list[float]] = {}
    for image, coarse in images[: max(1, repeats)]:
        refine(image, coarse, backend, config.refine)
        for stage, seconds in refine(image, coarse, backend, config.refine).seconds.items():
            stages.setdefault(stage, []).append(seconds)
    medians = {stage: 1000 * statistics.median(times) for stage, times in stages.items()}
    yield {**about, "part": "stages", "ms_a_picture": medians}
    options = EverythingOptions(grid=grid, min_score=0.5, min_stability=0.5)
    taken = _median(
        lambda: find_everything(images[0][0], backend, options), backend.device, min(3, repeats)
    )
    yield {**about, "part": "everything", "points": grid**2, "ms_a_picture": 1000 * taken}
    for setting in workers:
        for batch_size in (1, 16):
            row = _folder(config, pictures, setting, batch_size)
            yield {**about, "part": "folder", "workers": setting, "batch": batch_size, **row}


def _median(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _folder(config: Config, pictures: int, workers: str, batch: int) -> dict[str, Any]:
    """Refine a folder of copies of the examples, files included, start of the model too."""
    settings = [f"engine.workers={workers}", f"engine.batch={batch}"]
    options = load_config(None, settings)
    engine = options.engine
    with tempfile.TemporaryDirectory() as place:
        write_copies(Path(place), pictures)
        pairs = find_pairs(Path(place, "images"), Path(place, "masks"))
        made = Config(backend=config.backend, refine=config.refine, engine=engine)
        with _busy_share() as busy:
            start = time.perf_counter()
            run = refine_folder(pairs, Path(place, "out"), made)
            wall = time.perf_counter() - start
    assert not run.failures, run.failures
    share = statistics.mean(busy) if busy else None
    return {"pictures": pictures, "pictures_a_second": pictures / wall, "gpu_busy": share}


@contextmanager
def _busy_share() -> Iterator[list[float]]:
    """Sample how much of the time the GPU was at work; nothing where the driver does not say."""
    found: list[float] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(0.05):
            try:
                found.append(torch.cuda.utilization() / 100)
            except (RuntimeError, AssertionError, ImportError, ModuleNotFoundError):
                return  # no GPU, or no package that asks its driver

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--pictures", type=int, default=200, help="in each folder")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    machine = {"device": arguments.device, "torch": torch.__version__}
    if arguments.device.startswith("cuda"):
        machine["gpu"] = torch.cuda.get_device_name(arguments.device)
    with tempfile.TemporaryDirectory() as place:
        for name in arguments.models:
            checkpoint = None
            if name != "tiny":
                checkpoint = Path(place, f"{name}.pth")
                torch.save(
                    build_seeded(name, read_example("astronaut")[0]).state_dict(), checkpoint
                )
            for precision in ("bfloat16", "float32"):
                for row in measure_model(
                    name,
                    precision,
                    arguments.device,
                    checkpoint=checkpoint,
                    pictures=arguments.pictures,
                    repeats=arguments.repeats,
                ):
                    print(json.dumps(row), flush=True)
                    if not arguments.dry_run:
                        store(RESULTS, {**row, **facts(), **machine})


if __name__ == "__main__":
    main()
