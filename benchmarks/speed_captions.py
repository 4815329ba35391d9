"""Captions of all there is in a picture: the public order of work beside ours, same weights."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from uosam.backends.text.captioners import CaptionerOptions
from uosam.backends.text.generation import generate
from uosam.backends.text.sca import ScaCaptioner, load
from uosam.evaluation.demo import examples_folder
from uosam.io.images import read_image
from uosam.runs.words.asked import Question, caption_points, to_prompts
from uosam.stages.everything import EverythingOptions, find_everything
from uosam.structures import Image

GRID, BATCH = 16, 64
KEPT = 0.9  # quantile of scores below which masks are dropped: random networks know no better


def captions(grid: int = GRID) -> dict[str, Any]:
    """Caption one example picture in both orders, on the small seeded SCA of the golden data.

    The public program encodes the picture for each batch of points, generates a phrase for every
    point, and filters then. Here the picture is encoded once, masks are filtered first, and the
    language model reads the task tokens once.

    Args:
        grid: points a side.

    Returns:
        For both: phrases that are left, seconds of processor and clock, captions a second, and
        floating point operations, of which a multiplication with its addition are two.
    """
    torch.set_num_threads(1)
    shared = Path(os.environ.get("UOSAM_SHARED", "../shared"))
    folder = shared / "golden" / "sca" / "gpt2"
    model = load(CaptionerOptions(checkpoint=str(folder), device="cpu"))
    image = read_image(examples_folder() / "images" / "astronaut.jpg")
    embedding = model.backend.embed(image)
    steps = (np.arange(grid) + 0.5) / grid
    points = [Question(at=(x * image.shape[1], y * image.shape[0])) for y in steps for x in steps]
    answers = model.backend.decode(embedding, to_prompts(points, inclusive=True))
    least = float(np.quantile(answers.scores, KEPT))
    options = EverythingOptions(grid=grid, min_score=min(least, 1.0), min_stability=0.0)
    ways: dict[str, Callable[[], int]] = {
        "public order": lambda: _public(model, image, points, options),
        "uosam": lambda: _ours(model, image, options),
    }
    found: dict[str, Any] = {}
    for name, way in ways.items():
        with FlopCounterMode(display=False) as counter:
            left = way()
        clock, processor = time.perf_counter(), time.process_time()
        way()
        spent = time.process_time() - processor
        found[name] = {
            "phrases": left,
            "seconds": time.perf_counter() - clock,
            "processor_seconds": spent,
            "captions_a_second": left / spent,
            "gflop": counter.get_total_flops() / 1e9,
        }
    base, ours = found["public order"], found["uosam"]
    return {
        "weights": "seeded, tiny configuration",
        "grid": grid,
        "kept_quantile": KEPT,
        "ways": found,
        "times_faster": base["processor_seconds"] / ours["processor_seconds"],
        "times_less_arithmetic": base["gflop"] / ours["gflop"],
    }


@torch.inference_mode()
def _public(
    model: ScaCaptioner, image: Image, points: list[Question], options: EverythingOptions
) -> int:
    language = model.network.language
    for start in range(0, len(points), BATCH):
        prompts = to_prompts(points[start : start + BATCH], inclusive=False)
        embedding = model.backend.embed(image)
        prefixes, _ = model._read(embedding, prompts, np.arange(len(prompts)))
        embeds = torch.stack(prefixes)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        generate(language, {"inputs_embeds": embeds, "attention_mask": mask}, model.generation)
    return len(find_everything(image, model.backend, options))


def _ours(model: ScaCaptioner, image: Image, options: EverythingOptions) -> int:
    embedding = model.backend.embed(image)
    segments = find_everything(image, model.backend, options, whole=embedding)
    return len(caption_points(model, embedding, segments)) if segments else 0
