"""Speed of depth: drawing and unprojecting a frame, and fusing three, on one core."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from uosam.geometry.camera import Pinhole, unproject
from uosam.geometry.cloud import PointCloud
from uosam.geometry.depth_map import decode
from uosam.geometry.fusion import fuse
from uosam.geometry.render import render

REPEATS = 20
POINTS = 60_000
FRAMES = 3


def depth() -> dict[str, Any]:
    """Time a 640 x 480 frame of millimetres, 4 % holes, and frames of 60,000 points.

    Returns:
        For each the least "wall" and least "cpu" seconds of ``REPEATS``, and how many points are
        left after fusion. On a busy machine only the second says what the work costs.
    """
    stored = _frame()
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    camera = Pinhole(fx=577.0, fy=577.0, cx=319.5, cy=239.5, pose=pose)
    clouds = [_cloud(seed) for seed in range(FRAMES)]

    def frame() -> None:
        found = decode(stored, "mm")
        render(found)
        unproject(found, camera)

    cv2.setNumThreads(1)
    with threadpool_limits(1):
        return {
            "render_and_unproject": _least(frame, REPEATS),
            "fusion": _least(lambda: fuse(clouds), REPEATS // 4),
            "fused_points": len(fuse(clouds)),
        }


def _least(work: Callable[[], Any], repeats: int) -> dict[str, float]:
    work()
    wall, cpu = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return {"wall": min(wall), "cpu": min(cpu)}


def _frame() -> np.ndarray:
    v, u = np.mgrid[:480, :640]
    generator = np.random.default_rng(0)
    z = 1500 + 2 * v + 800 * ((u // 160 + v // 120) % 3) + generator.normal(0, 5, v.shape)
    slow = cv2.GaussianBlur(generator.standard_normal(v.shape), (0, 0), 12)
    z[slow > np.quantile(slow, 0.96)] = 0
    return z.round().astype(np.uint16)


def _cloud(seed: int) -> PointCloud:
    """Return points of a room of 6 x 5 m whose tiles of a metre are things, each frame its own."""
    generator = np.random.default_rng(seed)
    coord = generator.uniform(0, 1, (POINTS, 3)) * [6, 5, 0.3]
    tile = coord[:, 0].astype(np.int32) * 10 + coord[:, 1].astype(np.int32)
    return PointCloud(
        coord=coord,
        colour=np.zeros((POINTS, 3), np.uint8),
        label=tile % 7,
        group=tile,
    )
