"""Kill runs at any moment and see that what is left is whole, and that they end as if unkilled.

python -m tests.faults.kills --kills 1000 --seed 0
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

PICTURES = 6
VOLATILE = {"summary.json", "manifest.partial.jsonl"}
"""Files that tell of time, or of a run under way."""


def make_set(root: Path) -> None:
    """Write small pictures with coarse masks."""
    rng = np.random.default_rng(0)
    for index in range(PICTURES):
        truth = np.zeros((48, 64), np.uint8)
        cv2.circle(truth, (20 + 4 * index, 24), 12, 1, cv2.FILLED)
        photo = np.where(truth[..., None] == 1, [200, 60, 40], [40, 90, 160])
        photo = (photo + rng.integers(-9, 9, photo.shape)).clip(0, 255).astype(np.uint8)
        for folder, array in (("images", photo), ("masks", np.roll(truth, 3, 1))):
            (root / folder).mkdir(exist_ok=True)
            PIL.Image.fromarray(array).save(root / folder / f"p{index}.png")


def refine(root: Path, out: Path) -> None:
    """Do the whole run in this process."""
    from uosam.config import load_config
    from uosam.io.pairs import find_pairs
    from uosam.runs.refine import refine_folder

    config = load_config(overrides=["backend.name=graphcut"])
    run = refine_folder(find_pairs(root / "images", root / "masks"), out, config)
    assert not run.failures, run.failures


def contents(folder: Path) -> dict[str, bytes]:
    """Read a folder, hidden files included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in VOLATILE
    }


def start(root: Path, out: Path) -> int:
    """Begin a run in a process of its own; everything is imported already."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sys.stderr.flush()
            refine(root, out)
            status = 0
        finally:
            os._exit(status)
    return child


def run(kills: int, seed: int = 0) -> Counter[str]:
    """Kill that many runs, each folder again and again until a run gets through.

    Returns:
        Numbers of kills, of folders, of files that were torn, and of folders that ended otherwise.
    """
    cv2.setNumThreads(1)
    rng, found = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_set(root)
        refine(root, root / "first")  # which imports everything
        begin = time.perf_counter()
        refine(root, root / "whole")
        whole, seconds = contents(root / "whole"), time.perf_counter() - begin
        while found["kills"] < kills:
            out = root / f"out{found['folders']}"
            found["folders"] += 1
            while True:
                child = start(root, out)
                last = found["kills"] >= kills
                if not last:
                    time.sleep(rng.uniform(0, 0.8 * seconds))
                    if os.waitpid(child, os.WNOHANG) == (0, 0):
                        os.kill(child, signal.SIGKILL)
                        os.waitpid(child, 0)
                        found["kills"] += 1
                        found["torn"] += torn(contents(out) if out.is_dir() else {}, whole)
                        continue
                    found["failed"] += contents(out) != whole
                    break
                _, status = os.waitpid(child, 0)
                found["failed"] += status != 0 or contents(out) != whole
                break
    return found


def torn(left: dict[str, bytes], whole: dict[str, bytes]) -> int:
    """Count files that have their final name and not their final content."""
    temporary = [name for name in left if Path(name).name.startswith(".uosam-")]
    return sum(left[name] != whole.get(name) for name in left.keys() - set(temporary))


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = run(given.kills, given.seed)
    print("| kills | folders | torn files | folders that ended otherwise |")
    print("|---:|---:|---:|---:|")
    print(f"| {found['kills']} | {found['folders']} | {found['torn']} | {found['failed']} |")


if __name__ == "__main__":
    main()
