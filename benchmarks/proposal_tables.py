"""Tables of proposals and of their votes, from stored rows into ``docs/network_masks.md``.

``python -m benchmarks.proposal_tables`` takes the newest row of each segmenter from
``results/proposals.jsonl``, and that of each segmenter and number of pictures from
``results/votes.jsonl``, and measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import proposals, votes
from benchmarks.marked import fill
from benchmarks.network_scores import NUMBERS
from benchmarks.network_tables import PAGE, gain

_SAM = (0.86, 0.92)  # limits of score and stability in SSA and UO-SAM


def newest(results: Path) -> dict[str, dict[str, Any]]:
    """Return the newest row of each segmenter with its own settings; none without a file.

    Votes are told apart by the number of pictures, too: "tiny on 40".
    """
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    rows = [json.loads(line) for line in lines]
    return {_name(row): row for row in rows if not row.get("settings")}


def _name(row: Mapping[str, Any]) -> str:
    images = row["result"].get("images")
    return str(row["model"]) if images is None else f"{row['model']} on {images}"


def recall_table(rows: Mapping[str, dict[str, Any]]) -> str:
    """Return average recall of each segmenter's proposals, and what its limits let pass."""
    lines = [
        "| segmenter | AR@10 | AR@100 | AR@1000 | seconds | limits of score, stability | pass in a "
        "picture | good | of all good ones | with SAM's limits |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model, row in rows.items():
        result = row["result"]
        recalls = " | ".join(f"{100 * value:.1f}" for value in result["recall"])
        best = proposals.best_limits(result["limits"])
        cells = "none | | | |"
        if best is not None:
            cells = f"{best['min_score']}, {best['min_stability']} | {_passing(best)} |"
        sams = [r for r in result["limits"] if (r["min_score"], r["min_stability"]) == _SAM]
        beside = f"{sams[0]['per_picture']:.1f}, {100 * sams[0]['kept']:.0f} %" if sams else ""
        lines.append(f"| {model} | {recalls} | {result['seconds']:.1f} | {cells} {beside} |")
    return "\n".join(lines)


def _passing(limits: Mapping[str, float]) -> str:
    good, kept = (100 * limits[key] for key in ("good", "kept"))
    return f"{limits['per_picture']:.1f} | {good:.0f} % | {kept:.0f} %"


def vote_table(rows: Mapping[str, dict[str, Any]]) -> str:
    """Return gains of votes over the local stage, and their time in times of that stage's."""
    lines = [
        "| segmenter, pictures | points a side | mIoU | boundary mIoU | Img-Acc | F-beta | seconds "
        "| local stage |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model, row in rows.items():
        local = row["result"]["local"]
        for grid, found in row["result"]["grids"].items():
            gains = " | ".join(gain(found["scores"][name]) for name in NUMBERS)
            seconds = f"{found['seconds']:.2f} ({found['seconds'] / local:.1f} times)"
            lines.append(f"| {model} | {grid} | {gains} | {seconds} | {local:.2f} |")
    return "\n".join(lines)


def text(found: Mapping[str, dict[str, Any]], voted: Mapping[str, dict[str, Any]]) -> str:
    """Return both tables with what they were measured on."""
    parts = []
    for rows, table in ((found, recall_table), (voted, vote_table)):
        if not rows:
            continue
        said = "; ".join(
            f"{model}: {_amount(row)}, commit {row['commit'][:7]}, {row['time'][:10]}"
            for model, row in rows.items()
        )
        parts += [table(rows), f"{said}."]
    return "\n\n".join(parts)


def _amount(row: Mapping[str, Any]) -> str:
    result = row["result"]
    if "images" in result:
        return "masks of the network"
    return f"{result['regions']} regions in {result['pictures']} development pictures"


def main() -> None:
    """Fill the page."""
    content = text(newest(proposals.RESULTS), newest(votes.RESULTS))
    page = fill(PAGE.read_text("utf-8"), content, "proposals", PAGE.name)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
