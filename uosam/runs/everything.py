"""All masks of every picture of a folder: the task behind ``uosam proposals``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import yaml

import uosam
from uosam.backends import BackendOptions, load_backend, weights_digest
from uosam.backends.processes import may_fork
from uosam.config import read_changes, refuse_levels, update_options
from uosam.errors import ConfigError, InputError, unknown
from uosam.io.codecs import encode_labels
from uosam.io.images import read_image
from uosam.io.outputs import check_folders
from uosam.regions.records import Record, encode_rle, write_ssa
from uosam.report.columns import encode_columns
from uosam.runs.engine import run_folder
from uosam.runs.rows import Row
from uosam.runs.spread.launch import HERE, Spread
from uosam.runs.summary import Run
from uosam.runs.task import Encoded, Outcome, Task
from uosam.stages.everything import MIN_SCORE, EverythingOptions, find_everything
from uosam.stages.segments import Segment, paint
from uosam.structures import Backend, Image, LabelSpec, Sample

MIN_SCORES: Mapping[str, float] = {
    # A score of graphcut says how an outline stands out; tiny was not trained for points.
    "graphcut": 0.6,
    "tiny": 0.3,
    # The published 0.88 is of Dice.
    "semantic_sam_t": MIN_SCORE / (2 - MIN_SCORE),
    "semantic_sam_l": MIN_SCORE / (2 - MIN_SCORE),
}
"""Least score of models whose scores are unlike SAM's, where none is set."""

_NOT_DETERMINING = {"checkpoint", "device", "batch_size"}


@dataclass(frozen=True, kw_only=True)
class EverythingConfig:
    """All settings of ``uosam proposals``.

    Attributes:
        backend: which segmenter; graphcut unless said otherwise.
        everything: where points are asked, and which answers are kept.
        workers: processes, each with its own model.
        overwrite: replace the results of other settings in the output folder.
    """

    backend: BackendOptions = field(default_factory=lambda: BackendOptions(name="graphcut"))
    everything: EverythingOptions = field(default_factory=EverythingOptions)
    workers: int = 1
    overwrite: bool = False


def load_everything(source: str | Path | None, overrides: Sequence[str]) -> EverythingConfig:
    """Apply a YAML file and then overrides to the defaults; sections backend, everything, engine.

    Raises:
        ConfigError: no such file, unknown section or key, wrong type, value out of range, or levels
            that the model does not have.
    """
    changes = read_changes(source, overrides)
    defaults = EverythingConfig()
    sections = ("backend", "everything", "engine")
    for name in changes:
        if name not in sections:
            raise unknown("config section of proposals", name, sections)
    backend = update_options("backend", defaults.backend, changes.get("backend", {}))
    wanted = update_options("everything", defaults.everything, changes.get("everything", {}))
    if wanted.min_score is None:
        wanted = replace(wanted, min_score=MIN_SCORES.get(backend.name, MIN_SCORE))
    refuse_levels(backend.name, wanted.levels, "everything")
    engine = changes.get("engine", {})
    for key in engine:
        if key not in ("workers", "overwrite"):
            raise unknown("key in config section engine", key, ("workers", "overwrite"))
    config: EverythingConfig = update_options("engine", defaults, engine)
    if config.workers < 1:
        raise ConfigError(f"engine.workers must be at least 1, got {config.workers}")
    return replace(config, backend=backend, everything=wanted)


@dataclass(frozen=True, kw_only=True)
class EverythingTask(Task):
    """Find all masks of one picture.

    Attributes:
        folder: of the records, with ``labels`` and ``overlay`` in it.
        config: all settings.
    """

    titles: ClassVar[Mapping[str, str]] = {
        "found": "with masks",
        "empty": "without any mask",
        "masks": "masks",
    }
    statuses: ClassVar[tuple[str, ...]] = ("found", "empty")
    folder: Path
    config: EverythingConfig

    @property
    def out(self) -> Path:
        """Folder of the records."""
        return self.folder

    @property
    def workers(self) -> int:
        """Processes, each with its own model."""
        return self.config.workers

    @property
    def forks(self) -> bool:
        """Whether forked processes may share the model."""
        return may_fork(self.config.backend)

    @property
    def overwrite(self) -> bool:
        """Whether results of other settings are replaced."""
        return self.config.overwrite

    def header(self) -> Row:
        """Return settings, weights and version."""
        settings = {
            f"{section}.{key}": value
            for section in ("backend", "everything")
            for key, value in asdict(getattr(self.config, section)).items()
            if not (section == "backend" and key in _NOT_DETERMINING)
        }
        weights = weights_digest(self.config.backend)
        header = {"uosam": uosam.__version__, "weights": weights, "settings": settings}
        return {str(k): v for k, v in json.loads(json.dumps(header)).items()}

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return the picture."""
        if sample.image is None:
            raise InputError(f"sample {sample.name!r} must have a picture")
        return {"image": sample.image}

    def output(self, sample: Sample) -> Path:
        """Return where the records go."""
        return self.folder / f"{sample.name}.json"

    def extras(self, sample: Sample) -> Sequence[Path]:
        """Return where the label map and the picture for people go."""
        return (
            self.folder / "labels" / f"{sample.name}.png",
            self.folder / "overlay" / f"{sample.name}.jpg",
        )

    def load(self) -> Backend:
        """Load the segmenter."""
        return load_backend(self.config.backend)

    def read(self, sample: Sample) -> Image:
        """Read the picture."""
        return read_image(self.inputs(sample)["image"])

    def compute(self, model: Backend, read: Image) -> tuple[list[Segment], float]:
        """Find the masks, and tell how many seconds that took."""
        start = time.perf_counter()
        found = find_everything(read, model, self.config.everything)
        return found, time.perf_counter() - start

    def encode(self, sample: Sample, read: Image, result: tuple[list[Segment], float]) -> Encoded:
        """Encode records, label map and picture."""
        found, seconds = result
        hw = (read.shape[0], read.shape[1])
        labels = paint(found, hw)
        map_path, drawn_path = self.extras(sample)
        levels = self.config.everything.levels
        groups = [[one for one in found if one.level == level] for level in levels] or [found]
        titles = [f"level {level}" for level in levels] or [f"{len(found)} masks"]
        return Encoded(
            data=write_ssa([record(one) for one in found]),
            extras={
                map_path: encode_labels(".png", labels, LabelSpec(codec="index16", ignore=65535)),
                drawn_path: encode_columns(
                    read, [paint(group, hw, gaps=True) for group in groups], ["picture", *titles]
                ),
            },
            status="found" if found else "empty",
            details={"masks": len(found)},
            seconds={"masks": seconds},
        )


def record(segment: Segment) -> Record:
    """Return the record of a mask as SAM's generator writes it, and its level if it has one."""
    mask = segment.mask
    x0, y0, x1, y1 = segment.crop
    return Record(
        segmentation=encode_rle(mask),
        area=int(np.count_nonzero(mask)),
        box=segment.box,
        predicted_iou=segment.score,
        stability_score=segment.stability,
        point_coords=(segment.point,),
        crop_box=(x0, y0, x1 - x0, y1 - y0),
        level=segment.level or None,
    )


def find_in_folder(
    samples: Sequence[Sample],
    out: Path,
    config: EverythingConfig,
    *,
    unreadable: Mapping[str, str] | None = None,
    inputs: Sequence[Path] = (),
    spread: Spread = HERE,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Find all masks of every picture, skipping those that an earlier run has done.

    The records of a picture go to ``out / (name + ".json")``, its label map to ``out / "labels"``,
    ids in the order of the records from 1, and a picture for people to ``out / "overlay"``.

    Args:
        samples: with pictures.
        out: folder for everything.
        config: all settings.
        unreadable: what is known to have failed before the start.
        inputs: folders that must not be written into.
        spread: which of the samples are done here.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: ``out`` holds other results, or is or lies in an input folder.
        InputError: ``out`` cannot be written.
        BackendError: the model cannot be loaded, or a worker process died.
    """
    check_folders({"output": out}, inputs)
    settings = yaml.safe_dump(
        json.loads(
            json.dumps({"backend": asdict(config.backend), "everything": asdict(config.everything)})
        ),
        sort_keys=False,
    )
    return run_folder(
        EverythingTask(folder=out, config=config),
        samples,
        failures=unreadable,
        files={"config.yaml": settings.encode()},
        spread=spread,
        on_outcome=on_outcome,
    )
