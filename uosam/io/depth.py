"""Depth files: decoded once, here, to maps with a unit; and the files of cameras beside them."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from uosam.errors import ConfigError, InputError, UosamError, reason_of, unknown
from uosam.geometry.camera import Pinhole, Projective, from_matrix
from uosam.geometry.depth_map import (
    ENCODINGS,
    DepthMap,
    decode,
    guess_encoding,
    resize_nearest,
)
from uosam.geometry.render import RenderOptions
from uosam.io.images import UNREADABLE, check_not_empty
from uosam.io.stores.mounts import is_there
from uosam.io.stores.store import read_url

DEPTH_SUFFIXES = (".png", ".npy", ".npz", ".tif", ".tiff")
"""File name endings taken for depth, in any case."""


@dataclass(frozen=True, kw_only=True)
class DepthOptions(RenderOptions):
    """Depth beside the pictures, and how it is drawn as a guide for the global stage.

    Attributes:
        folder: of the depth files, of the same names as the masks; None works without depth.
        encoding: key of ``ENCODINGS``, or "auto": 16-bit integers are millimetres, an array of an
            ``.npz`` says by its name, anything else must be told.
        optional: whether a picture without a depth file is refined without a guide; else it is a
            failure.
        resize: whether depth of another size is enlarged or reduced, by nearest neighbour.
    """

    folder: str | None = None
    encoding: str = "auto"
    optional: bool = False
    resize: bool = False

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            ConfigError: unknown encoding, or as ``RenderOptions``.
        """
        super().__post_init__()
        if self.encoding not in ("auto", *ENCODINGS):
            raise unknown("depth.encoding", self.encoding, ("auto", *ENCODINGS))


def find_depth(folder: Path, name: str) -> Path | None:
    """Return the depth file of a picture or mask, or None.

    Args:
        folder: of all depth files.
        name: relative path without suffix; in a folder without sub-folders the last part of it
            will do.
    """
    forms = [name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]
    for stem in dict.fromkeys([*forms, *(Path(form).name for form in forms)]):
        for suffix in (*DEPTH_SUFFIXES, ".exr"):  # which ``read_depth`` refuses with a reason
            for spelling in (suffix, suffix.upper()):
                path = folder / (stem + spelling)
                if is_there(path):
                    return path
    return None


def read_depth(
    path: Path,
    encoding: str = "auto",
    *,
    hw: tuple[int, int] | None = None,
    resize: bool = False,
    projection: NDArray[Any] | None = None,
) -> DepthMap:
    """Read a depth file.

    Args:
        path: 16-bit PNG, ``.npy``, ``.npz`` of one array, or TIFF.
        encoding: key of ``ENCODINGS``, or "auto" (``guess_encoding``).
        hw: size of the picture; None takes any.
        resize: whether another size than ``hw`` is changed by nearest neighbour.
        projection: (4, 4) for "sailvos".

    Raises:
        ConfigError: no such encoding.
        InputError: missing or damaged file, another size, or no depth by its encoding.
    """
    stored, key = _read_array(path)
    try:
        if encoding == "auto":
            encoding = guess_encoding(stored.dtype, key)
        depth = decode(stored, encoding, projection)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if hw is None or depth.z.shape == hw:
        return depth
    if not resize:
        raise InputError(
            f"{path}: depth must have the size of its picture {hw[0]} x {hw[1]} (H x W), got "
            f"{depth.z.shape[0]} x {depth.z.shape[1]}; --resize (-s depth.resize=true) changes it "
            "by nearest neighbour, if it shows the same view"
        )
    return resize_nearest(depth, hw)


def read_camera(intrinsics: Path, pose: Path | None = None) -> tuple[Pinhole, list[str]]:
    """Read a camera from text files of matrices.

    Args:
        intrinsics: 3 x 3 or 4 x 4.
        pose: 4 x 4, camera to world.

    Returns:
        The camera, and what a user should know: numbers in the file that are not used.

    Raises:
        InputError: a file is missing or no matrix, or the matrices are no camera.
    """
    matrix = read_matrix(intrinsics)
    place = None if pose is None else read_matrix(pose)
    notes = []
    if (
        matrix.shape[1] == 4
        and matrix[:, 3].any()
        and not np.array_equal(matrix[:, 3], [0, 0, 0, 1])
    ):
        notes.append(
            f"{intrinsics}: the fourth column {matrix[:3, 3].tolist()} is not used (published code "
            "adds it as metres)"
        )
    try:
        return from_matrix(matrix, place), notes
    except UosamError as error:
        name = pose if str(error).startswith("a pose") and pose else intrinsics
        raise InputError(f"{name}: {error}") from error


def read_matrices(path: Path) -> Projective:
    """Read the ``.npz`` of matrices beside a frame of SAIL-VOS 3D: P, VP and VP_inv.

    Raises:
        InputError: the file is missing or holds other things.
    """
    found = _load_arrays(path)
    names = ("P", "VP", "VP_inv")
    missing = [name for name in names if name not in found or found[name].shape != (4, 4)]
    if missing:
        raise InputError(
            f"{path}: expected 4 x 4 matrices P, VP and VP_inv, got {', '.join(found) or 'none'}"
        )
    p, vp, inverse = (found[name].astype(np.float64) for name in names)
    return Projective(p=p, vp=vp, vp_inverse=inverse)


def read_matrix(path: Path) -> NDArray[np.float64]:
    """Read a text file of numbers in rows.

    Raises:
        InputError: missing, or not such a file.
    """
    check_not_empty(path)
    try:
        return np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
        raise InputError(
            f"{path}: expected a text file of a matrix, numbers in rows, got: {reason}"
        ) from error


def _read_array(path: Path) -> tuple[NDArray[Any], str | None]:
    """Return the array of a depth file as stored, and its name in an archive."""
    suffix = path.suffix.lower()
    if suffix not in DEPTH_SUFFIXES:
        remedy = (
            "OpenEXR is not read; save metres as .npy"
            if suffix == ".exr"
            else "lossy formats such as JPEG change distances"
        )
        raise InputError(
            f"{path}: depth files are {', '.join(DEPTH_SUFFIXES)}, got {suffix or 'no suffix'}; "
            f"{remedy}"
        )
    check_not_empty(path)
    if suffix in (".npy", ".npz"):
        found = _load_arrays(path)
        if len(found) != 1:
            raise InputError(
                f"{path}: expected one array of depth, got {', '.join(found) or 'none'}; matrices "
                "go into a file of their own"
            )
        ((key, array),) = found.items()
        if array.dtype.kind not in "fu":
            raise InputError(f"{path}: depth must be numbers above 0, got {array.dtype}")
        return array, key
    stored = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None:
        raise InputError(f"{path}: depth is damaged or truncated; copy or write it again")
    return stored, None


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    check_not_empty(path)
    try:
        loaded = np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (*UNREADABLE, zipfile.BadZipFile) as error:
        reason = reason_of(error)
        raise InputError(
            f"{path}: arrays are damaged or not plain numbers ({reason}); write them again"
        ) from error


def check_depth(folder: str, grid: int) -> None:
    """Refuse a folder of depth that is not there or that nobody would look into.

    Args:
        folder: of depth files.
        grid: of the global stage, the only one that looks at depth.

    Raises:
        ConfigError: there is no such folder, or the global stage is left out.
    """
    if read_url(folder) is None and not Path(folder).is_dir():
        raise ConfigError(f"depth.folder must be a folder of depth files, found none at {folder}")
    if grid == 0:
        raise ConfigError(
            "depth is a guide for the global stage, which global_region.grid=0 leaves out; set "
            "global_region.grid=16 or leave out depth.folder"
        )
