"""A small room as files: a wall, a floor and a box, seen from two places, in ScanNet's layout."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image

HW = (96, 128)
FOCAL = 80.0
K = np.array([[FOCAL, 0, 63.5], [0, FOCAL, 47.5], [0, 0, 1]])


def look(shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return depth (metres), class ids and pose of a camera ``shift`` metres to the right.

    The world has z up; the camera stands at height 1 and looks along y. 1: the wall y = 3; 2: the
    floor z = 0; 3: a box before the wall, 0.8 m wide and high, at y = 2.
    """
    v, u = np.mgrid[: HW[0], : HW[1]]
    right, down = (u - K[0, 2]) / FOCAL, (v - K[1, 2]) / FOCAL
    z, labels = np.full(HW, 3.0), np.full(HW, 1)
    with np.errstate(divide="ignore"):
        floor = np.where(down > 0, 1 / down, np.inf)
    labels[floor < z] = 2
    z = np.minimum(z, floor)
    x, height = right * 2 + shift, 1 - down * 2
    box = (np.abs(x) < 0.4) & (height > 0) & (height < 0.8)
    z[box], labels[box] = 2, 3
    pose = np.eye(4)
    pose[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    pose[:3, 3] = shift, 0, 1
    return z, labels, pose


def write_scene(root: Path, shifts: tuple[float, ...] = (0.0, 0.2)) -> Path:
    """Write color, depth, pose, intrinsics and masks; the frames are called 0, 1, ..."""
    for name in ("color", "depth", "pose", "intrinsics", "masks"):
        (root / name).mkdir(parents=True, exist_ok=True)
    np.savetxt(root / "intrinsics/intrinsic_depth.txt", K)
    colours = np.array([[0, 0, 0], [200, 190, 170], [90, 70, 50], [40, 90, 180]], np.uint8)
    for index, shift in enumerate(shifts):
        z, labels, pose = look(shift)
        PIL.Image.fromarray(colours[labels]).save(root / f"color/{index}.png")
        cv2.imwrite(str(root / f"depth/{index}.png"), (z * 1000).round().astype(np.uint16))
        np.savetxt(root / f"pose/{index}.txt", pose)
        PIL.Image.fromarray(labels.astype(np.uint8)).save(root / f"masks/{index}.png")
    return root
