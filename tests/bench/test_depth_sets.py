"""Sets with depth: methods that take a guide get it, and depth is part of what fills a cell."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import yaml

from tests.bench_sets import write_set
from uosam.bench.leaderboard import Leaderboard, run_bench
from uosam.bench.plan import read_plan

FAKE = ["backend.name=tests.fakes:load"]
GUIDED = ["global_region.grid=8", "global_region.min_purity=0", "global_region.protect=false"]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """Write three pictures of noise whose depth shows the shapes."""
    toy = write_set(tmp_path / "toy")
    (toy / "depth").mkdir()
    for path in (toy / "images").iterdir():
        target = np.asarray(PIL.Image.open(toy / "gt" / path.name))
        z = np.array([4000, 1000, 2000], np.uint16)[np.where(target > 2, 0, target)]
        cv2.imwrite(str(toy / "depth" / path.name), z)
        noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
        PIL.Image.fromarray(noise).save(path)
    tree = {
        "sets": {"toy": {kind: str(toy / kind) for kind in ("images", "gt", "coarse", "depth")}},
        "resamples": 20,
        "methods": {
            "SAD": {
                "function": "uosam.baselines.sad:refine_sad",
                "settings": {"grid": 8},
                "set": FAKE,
            },
            "guided": {"function": "uosam", "set": [*FAKE, *GUIDED, "prompts.min_area=1"]},
            "local": {"function": "uosam", "set": FAKE},
        },
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def run(plan: Path, out: Path) -> tuple[Leaderboard, list[str]]:
    filled = []

    def note(step) -> None:
        if not step.entry.cell.cached:
            filled.append(step.entry.method)

    return run_bench(read_plan(plan), out, on_step=note, isolated=False), filled


def test_methods_that_take_a_guide_get_the_depth(plan: Path, tmp_path: Path) -> None:
    board, filled = run(plan, tmp_path / "out")
    iou = {row.method: row.scores["object_IoU"] for row in board.rows}
    assert {"SAD", "guided", "local"} <= set(filled)
    assert iou["SAD"] > 0.97 > iou["coarse"]
    assert iou["guided"] > 0.97
    assert iou["local"] < 0.97
    assert run(plan, tmp_path / "out")[1] == []
    depth = tmp_path / "toy/depth/p0.png"
    cv2.imwrite(str(depth), cv2.imread(str(depth), cv2.IMREAD_UNCHANGED) + 1)
    assert "SAD" in run(plan, tmp_path / "out")[1]
    depth.unlink()
    broken, _ = run(plan, tmp_path / "out")
    errors = {entry.method: entry.note for entry in broken.rows}
    assert "expected depth of the name p0, found none" in errors["SAD"]
    assert "failed" not in errors["coarse"]
