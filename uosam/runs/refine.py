"""Refine a folder of coarse masks: the task behind ``uosam refine``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uosam.backends import load_backend
from uosam.backends.sharing import BatchingBackend, work_together
from uosam.backends.weights.cache import open_cache, remember
from uosam.config import Config, dump_config
from uosam.errors import InputError
from uosam.io.codecs import LabelFile, encode_labels, read_with
from uosam.io.images import check_same_size, read_image
from uosam.io.pairs import Pairs
from uosam.io.soft import find_scores, read_scores
from uosam.pipeline import refine
from uosam.report.overlay import encode_confidence, encode_overlay
from uosam.runs.engine import check_folders, run_folder
from uosam.runs.manifest import Row, make_header
from uosam.runs.summary import Run
from uosam.runs.task import Encoded, Outcome, Task
from uosam.structures import Backend, Image, Refinement, Sample


@dataclass(frozen=True, eq=False, kw_only=True)
class Pair:
    """A picture, its coarse mask and the scores behind it, as read."""

    image: Image
    file: LabelFile
    scores: NDArray[np.float32] | None


@dataclass(frozen=True, kw_only=True)
class RefineTask(Task):
    """Refine one coarse mask.

    Attributes:
        folder: of the refined masks.
        config: all settings.
    """

    titles: ClassVar[Mapping[str, str]] = {
        "refined": "refined",
        "kept": "kept as they were",
        "accepted": "objects redrawn",
        "rejected": "objects kept",
    }
    statuses: ClassVar[tuple[str, ...]] = ("refined", "kept")
    reasons: ClassVar[tuple[str, ...]] = ("rejected",)
    folder: Path
    config: Config

    @property
    def out(self) -> Path:
        """Folder of the refined masks."""
        return self.folder

    @property
    def workers(self) -> int:
        """Processes, each with its own model."""
        return self.config.engine.workers

    @property
    def batch(self) -> int:
        """Pictures refined at a time in one process."""
        return self.config.engine.batch

    @property
    def overwrite(self) -> bool:
        """Whether results of other settings are replaced."""
        return self.config.engine.overwrite

    def header(self) -> Row:
        """Return settings, weights and version."""
        return make_header(self.config)

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return picture, mask and, where scores lie beside it, their file."""
        if sample.image is None or sample.coarse is None:
            raise InputError(f"sample {sample.name!r} must have a picture and a coarse mask")
        files = {"image": sample.image, "mask": sample.coarse}
        folder = self.config.labels.scores
        soft = None if folder is None else find_scores(Path(folder), sample.name)
        return files if soft is None else {**files, "scores": soft}

    def output(self, sample: Sample) -> Path:
        """Return where the refined mask goes: the name and suffix of the coarse one."""
        mask = self.inputs(sample)["mask"] if sample.coarse is None else sample.coarse
        return self.folder / (sample.name + mask.suffix)

    def extras(self, sample: Sample) -> Sequence[Path]:
        """Return the pictures for people."""
        return [path for path, _ in self._drawn(sample)]

    def load(self) -> Backend:
        """Load the segmenter."""
        engine = self.config.engine
        backend = load_backend(self.config.backend)
        if engine.embedding_cache == "always":
            remember(backend, self.config.backend, open_cache(engine.embedding_cache_gb))
        return backend

    def read(self, sample: Sample) -> Pair:
        """Read picture, mask and scores."""
        paths = self.inputs(sample)
        file = read_with(paths["mask"], self.config.labels)
        image = read_image(paths["image"])
        check_same_size(paths["image"], image.shape[:2], paths["mask"], file.labels.shape)
        soft = paths.get("scores")
        scores = file.scores if soft is None else read_scores(soft, file.labels)
        return Pair(image=image, file=file, scores=scores)

    def compute(self, model: Backend, read: Pair) -> Refinement:
        """Refine one mask."""
        return refine(
            read.image,
            read.file.labels,
            model,
            self.config.refine,
            background=read.file.spec.background,
            scores=read.scores,
        )

    def together(self, model: Backend, works: Sequence[Callable[[Any], Any]]) -> list[Any]:
        """Refine several masks, what they ask of the segmenter in shared batches if it can."""
        if len(works) > 1 and isinstance(model, BatchingBackend):
            return work_together(works, model)
        return super().together(model, works)

    def encode(self, sample: Sample, read: Pair, result: Refinement) -> Encoded:
        """Encode the mask as the coarse one was, and the pictures for people."""
        file = read.file
        mask = self.inputs(sample)["mask"]
        rejected = Counter(choice.reason for choice in result.verdicts if not choice.accepted)
        return Encoded(
            data=encode_labels(mask.suffix, result.labels, file.spec, scores=file.stored),
            extras={
                path: draw(read.image, file.labels, result, file.spec)
                for path, draw in self._drawn(sample)
            },
            status="kept" if np.array_equal(result.labels, file.labels) else "refined",
            details={
                "accepted": sum(choice.accepted for choice in result.verdicts),
                "rejected": dict(sorted(rejected.items())),
            },
            seconds=result.seconds,
        )

    def _drawn(self, sample: Sample) -> list[tuple[Path, Callable[..., bytes]]]:
        """Return what is drawn beside the mask: path and function that encodes it."""
        engine = self.config.engine
        drawn: list[tuple[Path, Callable[..., bytes]]] = []
        if engine.overlay:
            drawn.append((Path(engine.overlay) / f"{sample.name}.jpg", encode_overlay))
        if engine.confidence:
            drawn.append((Path(engine.confidence) / f"{sample.name}.png", encode_confidence))
        return drawn


def refine_folder(
    pairs: Pairs,
    out: Path,
    config: Config,
    *,
    inputs: Sequence[Path] = (),
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Refine every pair into ``out``, skipping those that an earlier run has done.

    A mask goes to ``out / (name + suffix of the coarse mask)``; see ``run_folder`` for what holds
    of every run.

    Args:
        pairs: samples with picture and coarse mask, and what found no partner.
        out: folder for masks, ``manifest.jsonl``, ``config.yaml`` and ``summary.json``.
        config: all settings.
        inputs: folders that must not be written into.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: ``out`` holds other results, or is or lies in an input folder.
        InputError: ``out`` cannot be written.
        BackendError: the model cannot be loaded, or a worker process died.
    """
    drawn = {"overlay": config.engine.overlay, "confidence": config.engine.confidence}
    folders = {name: Path(path) for name, path in drawn.items() if path}
    check_folders({"output": out, **folders}, inputs)
    return run_folder(
        RefineTask(folder=out, config=config),
        pairs.samples,
        failures=pairs.unreadable,
        unpaired=[str(path) for path in (*pairs.unpaired_images, *pairs.unpaired_masks)],
        files={"config.yaml": dump_config(config).encode()},
        on_outcome=on_outcome,
    )
