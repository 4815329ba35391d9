"""How well a model answers single clicks and boxes, as papers on promptable segmentation report it.

``python -m benchmarks.prompt_quality --model tiny`` works on every set of
``$UOSAM_SHARED/data/val``, prints a table and appends a row to
``benchmarks/results/prompt_quality.jsonl``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.accuracy import data
from benchmarks.speed import facts, store
from uosam.backends import BackendOptions, load_backend, weights_digest
from uosam.errors import UosamError
from uosam.training.quality import prompt_quality
from uosam.training.validation import read_validation_sets

RESULTS = Path(__file__).parent / "results" / "prompt_quality.jsonl"
COLUMNS = ("objects", "click", "click oracle", "box", "box oracle", "spearman")


def table(result: dict[str, dict[str, float]]) -> str:
    """Return scores by set as a Markdown table: IoU in percent, correlation as it is."""
    lines = [f"| set | {' | '.join(COLUMNS)} |", f"|{'---|' * (len(COLUMNS) + 1)}"]
    for name, scores in result.items():
        cells = [f"{scores['objects']:.0f}"]
        cells += [f"{100 * scores[column]:.1f}" for column in COLUMNS[1:-1]]
        cells.append(f"{scores['spearman']:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def run(data: Path, options: BackendOptions, limit: int | None) -> dict[str, dict[str, float]]:
    """Measure every set below ``data``."""
    backend = load_backend(options)
    result = {}
    for chosen in read_validation_sets(data, limit):
        pairs = ((image, target) for image, target, _ in chosen.triples)
        result[chosen.name] = prompt_quality(pairs, backend, chosen.background)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--checkpoint")
    parser.add_argument("--limit", type=int, help="pictures of each set; default: all")
    parser.add_argument("--dry-run", action="store_true", help="print, store nothing")
    arguments = parser.parse_args()
    options = BackendOptions(name=arguments.model, checkpoint=arguments.checkpoint)
    try:
        result = run(data("val"), options, arguments.limit)
        weights = weights_digest(options)
    except UosamError as error:
        sys.exit(f"error: {error}")
    print(table(result))
    row: dict[str, Any] = {**facts(), "model": arguments.model, "weights_sha256": weights}
    row |= {"arguments": sys.argv[1:], "result": result}
    if not arguments.dry_run:
        store(RESULTS, row)


if __name__ == "__main__":
    main()
