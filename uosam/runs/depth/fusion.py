"""Frames of a scanned scene, joined: one cloud, and one number for a thing in all frames."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uosam.errors import InputError, UosamError
from uosam.geometry.camera import Pinhole
from uosam.geometry.cloud import PointCloud, label_groups, make_cloud
from uosam.geometry.depth_map import DepthMap
from uosam.geometry.fusion import FusionOptions, fuse, label_scene
from uosam.io.codecs import LabelOptions, read_with
from uosam.io.depth import find_depth, read_camera, read_depth, read_matrix
from uosam.io.images import check_same_size, read_image
from uosam.io.pairs import find_pairs
from uosam.report.scene import View
from uosam.runs.depth.scene import GRAIN, Built, check_centre, names_beside
from uosam.text import explain

_CAMERAS = ("intrinsic_depth.txt", "intrinsics.txt", "intrinsic.txt", "intrinsic_color.txt")


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """How the frames of a scene are read and joined.

    Attributes:
        encoding: of the depth files, or "auto".
        resize: whether depth of another size than its photograph is changed by nearest neighbour.
        intrinsics: text file of the camera; None looks into ``SCENE/intrinsics``.
        labels: how masks are read.
        fusion: constants.
    """

    encoding: str = "auto"
    resize: bool = False
    intrinsics: Path | None = None
    labels: LabelOptions = field(default_factory=LabelOptions)
    fusion: FusionOptions = field(default_factory=FusionOptions)


@dataclass(frozen=True, eq=False, kw_only=True)
class Fused:
    """A scene.

    Attributes:
        built: its cloud, ready to be written.
        frames: name to the group and the class of every pixel, (2, H, W) int32, -1 for none and
            where there is no depth.
        failures: why a frame was left out, by name.
    """

    built: Built
    frames: Mapping[str, Any]
    failures: Mapping[str, str]


def fuse_scene(
    scene: Path,
    masks: Path,
    options: SceneOptions,
    *,
    on_frame: Callable[[str], object] = lambda name: None,
) -> Fused:
    """Join the frames of ``scene``: folders color, depth, pose and intrinsics, as of ScanNet.

    Connected parts of a label in a mask are the groups of its frame. A frame without depth or with
    a pose that is not finite is left out, and told.

    Args:
        scene: folder of those four.
        masks: folder of a mask a frame, of the same names.
        options: encodings and constants.
        on_frame: called with the name of every frame that was read.

    Raises:
        InputError: there is no frame that can be used, or no camera.
    """
    path = options.intrinsics or _find_intrinsics(scene / "intrinsics")
    _, notes = read_camera(path)
    notes += _registration(path.parent)
    pairs = find_pairs(scene / "color", masks)
    failures = {str(image): "no mask of its name" for image in pairs.unpaired_images}
    failures |= pairs.unreadable
    clouds: dict[str, PointCloud] = {}
    depths: dict[str, DepthMap] = {}
    names: dict[int, str] = {}
    for sample in pairs.samples:
        assert sample.image is not None
        assert sample.coarse is not None
        try:
            found = find_depth(scene / "depth", sample.name)
            if found is None:
                raise InputError(f"{scene / 'depth' / sample.name}: expected depth, found none")
            camera, _ = read_camera(path, _find_pose(scene / "pose", sample.name))
            cloud, depth, known = _read_frame(
                sample.image, sample.coarse, found, camera, path, options
            )
        except UosamError as error:
            failures[sample.name] = explain(error)
            continue
        clouds[sample.name], depths[sample.name] = cloud, depth
        names |= known
        on_frame(sample.name)
    if not clouds:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(failures.items())[:3])
        raise InputError(f"{scene}: no frame can be used ({reasons or 'no mask of a picture'})")
    fused = fuse(list(clouds.values()), options.fusion)
    frames = {
        name: _per_pixel(cloud, depths[name], fused, options.fusion)
        for name, cloud in clouds.items()
    }
    amount = f"{len(clouds)} frames joined"
    if failures:
        amount += f", {len(failures)} left out"
    built = Built(
        cloud=fused,
        view=View(size=GRAIN * options.fusion.voxel),
        notes=(amount, *notes),
        names=names,
    )
    return Fused(built=built, frames=frames, failures=failures)


def encode_frames(frames: Mapping[str, Any]) -> bytes:
    """Return an ``.npz`` of NAME/group and NAME/label, (H, W) int32 each."""
    arrays: dict[str, Any] = {}
    for name, (group, label) in frames.items():
        arrays[f"{name}/group"], arrays[f"{name}/label"] = group, label
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _read_frame(
    image_path: Path,
    mask_path: Path,
    depth_path: Path,
    camera: Pinhole,
    camera_path: Path,
    options: SceneOptions,
) -> tuple[PointCloud, DepthMap, dict[int, str]]:
    image = read_image(image_path)
    hw = (image.shape[0], image.shape[1])
    check_centre(camera, hw, camera_path)
    file = read_with(mask_path, options.labels)
    check_same_size(image_path, hw, mask_path, file.labels.shape)
    depth = read_depth(depth_path, options.encoding, hw=hw, resize=options.resize)
    groups = label_groups(file.labels, file.spec.background)
    cloud = make_cloud(depth, camera, image, file.labels, groups)
    return cloud, depth, {**names_beside(mask_path), **file.spec.names}


def _per_pixel(
    cloud: PointCloud, depth: DepthMap, fused: PointCloud, options: FusionOptions
) -> Any:
    """Carry groups and classes of the scene back to a frame's pixels."""
    found = np.full((2, *depth.z.shape), -1, np.int32)
    # Numbers of the whole scene, where ``label_scene`` would number a scan's groups anew.
    group, label = label_scene(cloud.coord, fused, options, renumbered=False)
    found[0, depth.valid], found[1, depth.valid] = group, label
    return found


def _find_intrinsics(folder: Path) -> Path:
    """Return the matrix of the depth camera, or the only one that there is."""
    for name in _CAMERAS:
        if (folder / name).is_file():
            return folder / name
    others = [path for path in sorted(folder.glob("*.txt")) if "extrinsic" not in path.name]
    if len(others) == 1:
        return others[0]
    raise InputError(
        f"{folder}: expected the camera in {_CAMERAS[0]}, got "
        f"{', '.join(path.name for path in others) or 'none'}; give --intrinsics FILE"
    )


def _find_pose(folder: Path, name: str) -> Path:
    for stem in (name, Path(name).name):
        if (folder / f"{stem}.txt").is_file():
            return folder / f"{stem}.txt"
    raise InputError(f"{folder / name}.txt: expected the pose of the frame, found none")


def _registration(folder: Path) -> list[str]:
    """Say which ``extrinsic_*`` shift the cameras against each other, as nothing here does."""
    notes = []
    for path in sorted(folder.glob("extrinsic_*.txt")):
        matrix = read_matrix(path)
        if matrix.shape != (4, 4) or not np.allclose(matrix, np.eye(4), atol=1e-3):
            notes.append(
                f"{path.name} is not the identity and not applied: depth is taken as seen "
                "by the colour camera"
            )
    return notes
