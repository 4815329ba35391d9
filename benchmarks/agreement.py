"""What speed costs in accuracy: refined masks against those of the segment-anything package.

``python -m benchmarks.agreement`` refines the six sets of ``$UOSAM_SHARED/data/val`` three times
with the same weights: with the package's predictor, one prompt at a time in float32; with the
backend here in float32; and in bfloat16. It prints the share of pixels with the same label and the
paired differences of object IoU and object boundary IoU, and appends a row with commit, versions
and machine to ``benchmarks/results/agreement.jsonl``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from segment_anything import SamPredictor
from segment_anything.utils.amg import calculate_stability_score

from benchmarks.accuracy import SETS, data, read_set
from benchmarks.speed import facts, store
from uosam.backends import BackendOptions, load_backend, weights_digest
from uosam.backends.sam.builders import BUILDERS
from uosam.backends.weights.checkpoints import find_checkpoint, load_weights, read_state_dict
from uosam.config import Config, load_config
from uosam.errors import UosamError
from uosam.metrics.objects import object_scores
from uosam.pipeline import refine
from uosam.structures import Backend, Embedding, Image, Prompts, Proposals

RESULTS = Path(__file__).parent / "results" / "agreement.jsonl"
REFERENCE = "package"


@dataclass(eq=False, kw_only=True)
class PackageBackend:
    """The package's predictor behind the seam: nothing rewritten, nothing batched, float32."""

    predictor: SamPredictor

    def embed(self, image: Image) -> Embedding:
        """Encode one (H, W, 3) RGB picture."""
        self.predictor.set_image(image)
        features = self.predictor.features[0].numpy()
        side = self.predictor.model.image_encoder.img_size
        rows, cols = self.predictor.input_size
        _, h, w = features.shape
        return Embedding(
            features=features,
            extent=(rows * h / side, cols * w / side),
            image_hw=(image.shape[0], image.shape[1]),
            state=(self.predictor.features, self.predictor.input_size),
        )

    def decode(
        self,
        embedding: Embedding,
        prompts: Prompts,
        *,
        multimask: bool = True,
        min_score: float = 0.0,
        min_stability: float = 0.0,
    ) -> Proposals:
        """Answer the rows one after the other."""
        predictor = self.predictor
        predictor.features, predictor.input_size = embedding.state
        predictor.original_size = embedding.image_hw
        parts = []
        for row in range(len(prompts)):
            real = prompts.point_labels[row] >= 0
            masks, scores, logits = predictor.predict(
                point_coords=prompts.points[row][real] if real.any() else None,
                point_labels=prompts.point_labels[row][real] if real.any() else None,
                box=None if prompts.boxes is None else prompts.boxes[row],
                mask_input=None if prompts.logits is None else prompts.logits[row][None],
                multimask_output=multimask,
                return_logits=True,
            )
            scores = np.clip(scores, 0, 1)
            stability = calculate_stability_score(torch.from_numpy(masks), 0.0, 1.0).numpy()
            kept = (scores >= min_score) & (stability >= min_stability)
            rows = np.full(int(kept.sum()), row)
            parts.append((masks[kept] > 0, scores[kept], stability[kept], logits[kept], rows))
        names = ("masks", "scores", "stability", "logits", "row")
        columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Proposals(**dict(zip(names, columns, strict=True)))


def package_backend(options: BackendOptions) -> PackageBackend:
    """Build the package's predictor with the weights that ``options`` name."""
    sam = BUILDERS[options.name]()
    path = find_checkpoint(options.name, options.checkpoint)
    load_weights(sam, read_state_dict(path, options.name), path, options.name)
    return PackageBackend(predictor=SamPredictor(sam.eval().requires_grad_(False)))


def backends(options: BackendOptions) -> dict[str, Backend]:
    """Return the package's path and ours in both precisions, with the same weights."""
    ours = {
        precision: load_backend(replace(options, precision=precision))
        for precision in ("float32", "bfloat16")
    }
    return {REFERENCE: package_backend(options), **ours}


def compare(
    folder: Path,
    background: int | None,
    paths: dict[str, Backend],
    config: Config,
    limit: int | None = None,
) -> dict[str, Any]:
    """Refine a set with every path.

    Returns:
        Numbers of images and objects; of each path but the first mean differences "iou" and
        "boundary_iou" to the first over all objects, in [-1, 1], the largest difference of a
        picture's mean IoU, and the share of pixels with the same label.
    """
    pictures = read_set(folder, limit)
    scores: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in paths}
    same: dict[str, int] = dict.fromkeys(paths, 0)
    for picture in pictures:
        maps = {
            name: refine(
                picture.image, picture.coarse, path, config.refine, background=background
            ).labels
            for name, path in paths.items()
        }
        for name, labels in maps.items():
            same[name] += np.count_nonzero(labels == maps[REFERENCE])
            found = object_scores(labels, picture.target, background=background)
            scores[name].append([(score.iou, score.boundary_iou) for score in found])
    objects = sum(len(found) for found in scores[REFERENCE])
    result: dict[str, Any] = {"images": len(pictures), "objects": objects}
    for name in list(paths)[1:]:
        apart = [
            np.subtract(mine, theirs)
            for mine, theirs in zip(scores[name], scores[REFERENCE], strict=True)
            if theirs
        ]
        iou, boundary_iou = np.concatenate(apart).mean(axis=0).tolist()
        result[name] = {
            "iou": iou,
            "boundary_iou": boundary_iou,
            "largest_of_a_picture": max(abs(float(some[:, 0].mean())) for some in apart),
            "equal_pixels": same[name] / sum(picture.coarse.size for picture in pictures),
        }
    return result


def table(result: dict[str, dict[str, Any]]) -> str:
    """Return differences in points, and equal pixels in percent, as a Markdown table."""
    lines = [
        "| set | images / objects | path | object IoU | object boundary IoU "
        "| largest of a picture | equal pixels |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, numbers in result.items():
        for path, entry in list(numbers.items())[2:]:
            lines.append(
                f"| {name} | {numbers['images']} / {numbers['objects']} | {path} "
                f"| {100 * entry['iou']:+.3f} | {100 * entry['boundary_iou']:+.3f} "
                f"| {100 * entry['largest_of_a_picture']:.3f} "
                f"| {100 * entry['equal_pixels']:.4f} % |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny", choices=BUILDERS)
    parser.add_argument("--checkpoint")
    parser.add_argument("--limit", type=int, help="pictures of each set; default: all")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    asked = parser.parse_args()
    options = BackendOptions(name=asked.model, checkpoint=asked.checkpoint, device="cpu")
    try:
        paths, config = backends(options), load_config(overrides=asked.set)
        result = {
            name: compare(data("val") / name, background, paths, config, asked.limit)
            for name, background in SETS.items()
        }
        weights = weights_digest(options)
    except UosamError as error:
        sys.exit(f"error: {error}")
    print(table(result))
    row = {**facts(), "model": asked.model, "weights_sha256": weights}
    row |= {"arguments": sys.argv[1:], "result": result}
    if not asked.dry_run:
        store(RESULTS, row)


if __name__ == "__main__":
    main()
