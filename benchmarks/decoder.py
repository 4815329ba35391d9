"""Speed of SAM's networks here against the segment-anything package's own, on seeded weights.

``python -m benchmarks.decoder decoder --model vit_t --precision bfloat16`` times single points and
batches of them, ``... encoder`` one picture, ``... enlarge`` the way from logits to masks. All say
first how far apart both sides are, print what they found and append a row with commit, versions and
machine to ``benchmarks/results/decoder.jsonl``.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import facts, store
from uosam.backends.batching import enlarge_padded
from uosam.backends.sam.absorbed import AbsorbedDecoder
from uosam.backends.sam.builders import BUILDERS
from uosam.backends.sam.encoders import speed_up

RESULTS = Path(__file__).parent / "results" / "decoder.jsonl"
BATCHES = (1, 4, 8, 64)
MASKED = 8  # this batch is also timed with a mask to each point

PASSING = (1.0, 0.5, 0.0)
"""Shares of prompts of which a mask passes the score test."""

_SECONDS = 1.0  # for one entry, or a single run that takes longer


def decoder(model: str, precision: str, batches: Sequence[int] = BATCHES) -> list[dict[str, Any]]:
    """Time prompts of a point each, asking for three masks; vit_t has the decoder of vit_b to h."""
    sam = build_lively(model)
    grid, width = sam.prompt_encoder.image_embedding_size, sam.prompt_encoder.embed_dim
    features = torch.randn(1, width, *grid)
    ours = AbsorbedDecoder(sam, getattr(torch, precision))
    picture = ours.prepare(features)
    shared = {"once_per_picture_ms": 1e3 * least(lambda: ours.prepare(features))["seconds"]}
    rows = []
    for count, masked in [
        *((n, False) for n in batches),
        *((n, True) for n in batches if n == MASKED),
    ]:
        sparse, dense = sam.prompt_encoder(
            points=(torch.rand(count, 1, 2) * 1024, torch.ones(count, 1)),
            boxes=None,
            masks=torch.randn(count, 1, 4 * grid[0], 4 * grid[1]) if masked else None,
        )

        def package(sparse: torch.Tensor = sparse, dense: torch.Tensor = dense) -> Any:
            with lowered(precision):
                return sam.mask_decoder(
                    image_embeddings=features,
                    image_pe=sam.prompt_encoder.get_dense_pe(),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=True,
                )

        def absorbed(
            least_score: float,
            sparse: torch.Tensor = sparse,
            dense: torch.Tensor | None = dense if masked else None,
        ) -> Any:
            return ours.decode(picture, sparse, dense, multimask=True, min_score=least_score)

        expected, _ = package()
        logits, scores, _ = absorbed(0.0)
        row = {"prompts": count, "masks": masked, **difference(logits, expected.float())}
        row["package"] = per_prompt(least(package), count)
        best = scores.max(1).values.sort(descending=True).values.tolist()
        for share in PASSING if count > 1 else (1.0, 0.0):
            # Between the last prompt that passes and the first that does not.
            limit = sum([*best, -1.0][round(share * count) - 1 :][:2]) / 2 if share else 2.0
            assert len(absorbed(limit)[0]) == round(share * count)
            taken = least(lambda limit=limit: absorbed(limit))
            row[f"ours_{share:.0%}"] = per_prompt(taken, count)
        row.update(ratios(row["package"], row["ours_100%"]))
        rows.append({**row, **shared})
    return rows


def encoder(model: str, precision: str, *, compiled: bool = False) -> list[dict[str, Any]]:
    """Time one square picture through the encoder as built, as rearranged, and as compiled."""
    package = build_lively(model).image_encoder
    ours = copy.deepcopy(package)
    speed_up(ours, torch.device("cpu"))
    square = torch.randn(1, 3, package.img_size, package.img_size)
    last = square.contiguous(memory_format=torch.channels_last)

    def run(network: Any, pixels: torch.Tensor) -> torch.Tensor:
        with lowered(precision):
            return network(pixels).float()

    row = difference(run(ours, last), run(package, square))
    row["package"] = per_prompt(least(lambda: run(package, square)), 1)
    row["ours"] = per_prompt(least(lambda: run(ours, last)), 1)
    row.update(ratios(row["package"], row["ours"]))
    if compiled:
        other = copy.deepcopy(package)
        speed_up(other, torch.device("cpu"), compiled=True)
        start = time.perf_counter()
        row["compiled_difference"] = difference(run(other, last), run(ours, last))
        row["compiling_seconds"] = time.perf_counter() - start
        row["compiled"] = per_prompt(least(lambda: run(other, last)), 1)
        row["compiled_ratio"] = row["ours"]["ms"] / row["compiled"]["ms"]
    return [row]


def enlarge(model: str, precision: str) -> list[dict[str, Any]]:
    """Time bringing 16 logit grids to pictures of two sizes."""
    sam = build_lively(model)
    side = sam.image_encoder.img_size
    logits = torch.randn(16, 1, 24, 24)
    logits = 5 * torch.nn.functional.interpolate(logits, (256, 256), mode="bicubic")
    rows = []
    for hw in ((375, 500), (1500, 2000)):
        covered = tuple(int(side * length / max(hw) + 0.5) for length in hw)
        package = sam.postprocess_masks(logits, covered, hw)
        ours = enlarge_padded(logits, side, covered, hw)
        row = {"hw": hw, **difference(ours, package)}
        row["package"] = per_prompt(
            least(lambda c=covered, hw=hw: sam.postprocess_masks(logits, c, hw)), 16
        )
        row["ours"] = per_prompt(
            least(lambda c=covered, hw=hw: enlarge_padded(logits, side, c, hw)), 16
        )
        row.update(ratios(row["package"], row["ours"]))
        rows.append(row)
    return rows


def build_lively(model: str) -> Any:
    """Build a network whose biases, norms and positions are drawn, too; logits are of size one."""
    torch.manual_seed(0)
    sam = BUILDERS[model]().eval().requires_grad_(False)
    for name, value in sam.named_parameters():
        if value.ndim <= 1 or "rel_pos" in name:
            value.add_(0.05 * torch.randn(value.shape))
    for network in sam.mask_decoder.output_hypernetworks_mlps:
        network.layers[-1].weight.mul_(30)
    head = sam.mask_decoder.iou_prediction_head.layers[-1]
    head.weight.mul_(0.3)
    head.bias.fill_(0.5)  # scores lie in [0, 1]
    return sam


def lowered(precision: str) -> AbstractContextManager[object]:
    """Let the package compute in bfloat16 where it is asked for."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16")


def difference(ours: torch.Tensor, package: torch.Tensor) -> dict[str, Any]:
    """Say how far apart two answers are."""
    sure = package.abs() > 1e-4
    return {
        "largest_difference": float((ours - package).abs().max()),
        "standard_deviation": float(package.std()),
        "sign_flips": int(((ours > 0) != (package > 0))[sure].sum()),
        "values": ours.numel(),
    }


def least(run: Callable[[], Any]) -> dict[str, float]:
    """Time a function that has run before; the least time is the least disturbed one.

    Processor time counts what all threads spend, waiting for each other included. With one thread
    it is what the work takes, whatever else the machine does.
    """
    best, busy, runs, begin = math.inf, math.inf, 0, time.perf_counter()
    while not runs or time.perf_counter() - begin < _SECONDS:
        start, used = time.perf_counter(), time.process_time()
        run()
        seconds = time.perf_counter() - start
        busy = min(busy, time.process_time() - used)
        best = min(best, seconds)
        runs += 1
    return {"seconds": best, "processor": busy, "runs": runs}


def per_prompt(taken: dict[str, float], count: int) -> dict[str, float]:
    return {
        "ms": 1e3 * taken["seconds"] / count,
        "processor_ms": 1e3 * taken["processor"] / count,
        "runs": taken["runs"],
    }


def ratios(package: dict[str, float], ours: dict[str, float]) -> dict[str, float]:
    return {
        "ratio": package["ms"] / ours["ms"],
        "processor_ratio": package["processor_ms"] / ours["processor_ms"],
    }


PARTS: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "decoder": decoder,
    "encoder": encoder,
    "enlarge": enlarge,
}


@torch.inference_mode()
def measure(part: str, model: str, precision: str, **settings: Any) -> dict[str, Any]:
    """Return the row of one part."""
    return {
        "part": part,
        **facts(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "model": model,
        "precision": precision,
        "result": PARTS[part](model, precision, **settings),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--model", choices=BUILDERS, default="vit_b")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batches", type=int, nargs="+", help="decoder: how many prompts")
    parser.add_argument("--compile", action="store_true", help="encoder: also with torch.compile")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings: dict[str, Any] = {"batches": arguments.batches} if arguments.batches else {}
    if arguments.compile:
        settings["compiled"] = True
    row = measure(arguments.part, arguments.model, arguments.precision, **settings)
    print(json.dumps(row["result"], indent=1))
    if not arguments.dry_run:
        store(RESULTS, row)


if __name__ == "__main__":
    main()
