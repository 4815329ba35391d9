"""Depth for a folder: estimated from photographs, or drawn from depth files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import PIL.Image

import uosam
from uosam.backends.depth.network import depth_kind, load
from uosam.backends.weights.checkpoints import folder_digest
from uosam.errors import InputError
from uosam.geometry.depth_map import DepthMap, DepthModel
from uosam.geometry.render import render
from uosam.io.depth import DEPTH_SUFFIXES, DepthOptions, read_depth
from uosam.io.images import read_image
from uosam.io.outputs import check_folders
from uosam.io.pairs import find_pictures
from uosam.io.walk import list_files
from uosam.runs.engine import run_folder
from uosam.runs.rows import Row
from uosam.runs.summary import Run
from uosam.runs.task import Encoded, Outcome, Task
from uosam.structures import Image, Sample

_FARTHEST = 65.535  # metres in 16 bits of millimetres


@dataclass(frozen=True, kw_only=True)
class EstimateTask(Task):
    """Estimate the depth of one photograph.

    Attributes:
        folder: of the depth files.
        checkpoint: folder of the network.
        device: "auto" or a torch device.
        replace: whether results of other settings are replaced.
    """

    titles: ClassVar[Mapping[str, str]] = {"estimated": "estimated"}
    statuses: ClassVar[tuple[str, ...]] = ("estimated",)
    folder: Path
    checkpoint: Path
    device: str = "auto"
    replace: bool = False

    @property
    def out(self) -> Path:
        """Folder of the depth files."""
        return self.folder

    @property
    def overwrite(self) -> bool:
        """Whether results of other settings are replaced."""
        return self.replace

    def header(self) -> Row:
        """Return the digest of the network and the version."""
        return {
            "uosam": uosam.__version__,
            "weights": folder_digest(self.checkpoint.expanduser()),
            "settings": {"command": "depth estimate"},
        }

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return the photograph."""
        if sample.image is None:
            raise InputError(f"sample {sample.name!r} must have a picture")
        return {"image": sample.image}

    def output(self, sample: Sample) -> Path:
        """Return where the depth goes: PNG of millimetres, or ``.npz`` of inverse depth."""
        suffix = ".png" if depth_kind(self.checkpoint) == "metric" else ".npz"
        return self.folder / f"{sample.name}{suffix}"

    def load(self) -> DepthModel:
        """Load the network."""
        return load(self.checkpoint, self.device)

    def read(self, sample: Sample) -> Image:
        """Read the photograph."""
        return read_image(self.inputs(sample)["image"])

    def compute(self, model: DepthModel, read: Image) -> DepthMap:
        """Estimate its depth."""
        return model.estimate(read)

    def encode(self, sample: Sample, read: Image, result: DepthMap) -> Encoded:
        """Encode the depth, so that its file tells what it holds."""
        return Encoded(data=encode_depth(result), status="estimated")


@dataclass(frozen=True, kw_only=True)
class RenderTask(Task):
    """Draw one depth file as a PNG in colours.

    Attributes:
        folder: of the pictures.
        options: how depth is read and drawn.
        replace: whether results of other settings are replaced.
    """

    titles: ClassVar[Mapping[str, str]] = {"rendered": "rendered"}
    statuses: ClassVar[tuple[str, ...]] = ("rendered",)
    folder: Path
    options: DepthOptions
    replace: bool = False

    @property
    def out(self) -> Path:
        """Folder of the pictures."""
        return self.folder

    @property
    def overwrite(self) -> bool:
        """Whether results of other settings are replaced."""
        return self.replace

    def header(self) -> Row:
        """Return the settings and the version."""
        settings = {f"depth.{key}": value for key, value in asdict(self.options).items()}
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
        return {"uosam": uosam.__version__, "weights": "none", "settings": settings}

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return the depth file."""
        if sample.image is None:
            raise InputError(f"sample {sample.name!r} must have a depth file")
        return {"depth": sample.image}

    def output(self, sample: Sample) -> Path:
        """Return where the picture goes."""
        return self.folder / f"{sample.name}.png"

    def load(self) -> None:
        """Load nothing; drawing needs no model."""

    def read(self, sample: Sample) -> DepthMap:
        """Read the depth file."""
        return read_depth(self.inputs(sample)["depth"], self.options.encoding)

    def compute(self, model: None, read: DepthMap) -> Image:
        """Draw it."""
        return render(read, self.options)

    def encode(self, sample: Sample, read: DepthMap, result: Image) -> Encoded:
        """Encode the very array that a segmenter would see, and tell the share of holes."""
        buffer = io.BytesIO()
        PIL.Image.fromarray(result).save(buffer, "PNG")
        details = {"holes": round(read.holes, 4)}
        return Encoded(data=buffer.getvalue(), status="rendered", details=details)


def encode_depth(depth: DepthMap) -> bytes:
    """Return the file of a depth map that ``read_depth`` understands without being told.

    Metres become a 16-bit PNG of millimetres, in which 0 and what is beyond 65.5 m is not measured;
    inverse depth an ``.npz`` of float32 whose array is called so.
    """
    if depth.kind == "inverse":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, inverse=np.nan_to_num(depth.z))
        return buffer.getvalue()
    near = depth.valid & (depth.z <= _FARTHEST)
    stored = np.where(near, np.nan_to_num(depth.z) * 1000, 0).round().astype(np.uint16)
    _, data = cv2.imencode(".png", stored)
    return data.tobytes()


def estimate_folder(
    images: Path,
    out: Path,
    checkpoint: Path,
    *,
    device: str = "auto",
    overwrite: bool = False,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Estimate the depth of every picture below a folder; see ``run_folder``.

    Raises:
        ConfigError: ``out`` holds other results, or lies in ``images``.
        InputError: there are no pictures, or ``out`` cannot be written.
        BackendError: the network cannot be loaded.
    """
    depth_kind(checkpoint)
    check_folders({"output": out}, [images])
    samples, unreadable = find_pictures(images)
    task = EstimateTask(folder=out, checkpoint=checkpoint, device=device, replace=overwrite)
    return run_folder(task, samples, failures=unreadable, on_outcome=on_outcome)


def render_folder(
    depth: Path,
    out: Path,
    options: DepthOptions,
    *,
    overwrite: bool = False,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Draw every depth file below a folder; see ``run_folder``.

    Raises:
        ConfigError: ``out`` holds other results, or lies in ``depth``.
        InputError: there are no depth files, two share a name, or ``out`` cannot be written.
    """
    check_folders({"output": out}, [depth])
    samples, unreadable = find_depths(depth)
    task = RenderTask(folder=out, options=options, replace=overwrite)
    return run_folder(task, samples, failures=unreadable, on_outcome=on_outcome)


def find_depths(depth: Path) -> tuple[list[Sample], dict[str, str]]:
    """List the depth files below a folder by name, and sub-folders that cannot be listed.

    Raises:
        InputError: the folder is missing or without depth files, or two share a name.
    """
    unreadable: dict[str, str] = {}
    found: dict[str, Path] = {}
    for file in list_files(depth, (*DEPTH_SUFFIXES, ".exr"), unreadable):
        name = file.with_suffix("").as_posix()
        if name in found:
            raise InputError(f"{found[name]} and {depth / file} share a name; rename one")
        found[name] = depth / file
    if not found and not unreadable:
        raise InputError(f"{depth}: no depth files found ({', '.join(DEPTH_SUFFIXES)})")
    return [Sample(name=name, image=path) for name, path in sorted(found.items())], unreadable
