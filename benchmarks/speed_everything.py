"""All masks of a picture: SAM's mask generator beside everything mode, on the same weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from segment_anything import SamAutomaticMaskGenerator

from benchmarks.speed_weights import build_seeded
from uosam.backends.sam.backend import SamBackend
from uosam.evaluation.demo import examples_folder
from uosam.io.images import read_image
from uosam.stages.everything import EverythingOptions, find_everything


def everything(model: str = "vit_b", grid: int = 16, threads: int = 1) -> dict[str, Any]:
    """Time both on one example picture, each once after the other.

    Seconds of the processor are given beside those of the clock: they do not count the waiting for
    other work of the machine.

    Args:
        model: a SAM, with seeded weights.
        grid: points a side; the generator's own default is 32.
        threads: of torch.
    """
    torch.set_num_threads(threads)
    image = read_image(examples_folder() / "images" / "astronaut.jpg")
    network = build_seeded(model, image)
    backend = SamBackend(sam=network, device=torch.device("cpu"))
    published = EverythingOptions(grid=grid, stability="picture", duplicates="boxes")
    ways: dict[str, Callable[[], list[Any]]] = {
        "generator": lambda: SamAutomaticMaskGenerator(network, points_per_side=grid).generate(
            image
        ),
        "uosam with its settings": lambda: find_everything(image, backend, published),
        "uosam": lambda: find_everything(image, backend, EverythingOptions(grid=grid)),
    }
    found: dict[str, Any] = {}
    for name, way in ways.items():
        clock, processor = time.perf_counter(), time.process_time()
        masks = way()
        found[name] = {
            "masks": len(masks),
            "seconds": time.perf_counter() - clock,
            "processor_seconds": time.process_time() - processor,
        }
    base = found["generator"]["processor_seconds"]
    for row in found.values():
        row["times_faster"] = base / row["processor_seconds"]
    facts = {"model": model, "weights": "seeded", "grid": grid, "threads": threads}
    return {**facts, "hw": list(image.shape[:2]), "ways": found}
