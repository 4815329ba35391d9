"""Refine a folder of coarse masks: the task behind ``uosam refine``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uosam.backends import load_backend
from uosam.backends.processes import choose_workers, may_fork
from uosam.backends.sharing import BatchingBackend, work_together
from uosam.backends.weights.cache import open_cache, remember
from uosam.config import Config, dump_config
from uosam.errors import InputError
from uosam.geometry.depth_map import DepthMap
from uosam.geometry.render import make_guide
from uosam.io.binary import check_ignore, settle_labels
from uosam.io.codecs import LabelFile, encode_labels, read_with
from uosam.io.colours import BUILT_IN
from uosam.io.depth import DEPTH_SUFFIXES, check_depth, find_depth, read_depth
from uosam.io.images import Picture, check_same_size
from uosam.io.outputs import check_folders
from uosam.io.pairs import Pairs
from uosam.io.soft import find_scores, read_scores
from uosam.io.stores.mounts import mount
from uosam.pipeline import refine
from uosam.report.overlay import encode_confidence, encode_overlay
from uosam.runs.details import make_details
from uosam.runs.engine import run_folder
from uosam.runs.manifest import make_header, refuse_other_masks
from uosam.runs.rows import Row
from uosam.runs.spread.launch import HERE, Spread
from uosam.runs.summary import Run
from uosam.runs.task import Encoded, Outcome, Task
from uosam.runs.upright import read_for_mask, refine_upright
from uosam.stages.judging.judge import expected_gains
from uosam.stages.local_region import final_verdicts
from uosam.structures import Backend, Refinement, Sample


@dataclass(frozen=True, eq=False, kw_only=True)
class Pair:
    """A picture, its coarse mask, and the scores behind it and the depth beside it, as read."""

    picture: Picture
    file: LabelFile
    scores: NDArray[np.float32] | None
    depth: DepthMap | None = None


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
        "expected": "expected gain",
        "rejected": "objects kept",
    }
    statuses: ClassVar[tuple[str, ...]] = ("refined", "kept")
    reasons: ClassVar[tuple[str, ...]] = ("expected", "rejected")
    turns: ClassVar[bool] = True
    folder: Path
    config: Config

    @property
    def out(self) -> Path:
        """Folder of the refined masks."""
        return self.folder

    @property
    def workers(self) -> int:
        """Processes, each with its own model."""
        asked = self.config.engine.workers
        return 1 if asked == "auto" else asked

    @property
    def forks(self) -> bool:
        """Whether forked processes may share the model."""
        return may_fork(self.config.backend)

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
        scores = self.config.labels.scores
        if scores is not None:
            files["scores"] = find_scores(mount(Path(scores)), sample.name)
        colours = self.config.labels.colours
        if colours is not None and colours not in BUILT_IN:
            files["colours"] = Path(colours)
        return files

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
        picture = read_for_mask(paths["image"], self.config.io)
        file = read_with(paths["mask"], self.config.labels)
        check_ignore(paths["mask"], file, self.config.labels)
        hw = picture.image.shape[:2]
        check_same_size(paths["image"], hw, paths["mask"], file.labels.shape)
        soft = paths.get("scores")
        scores = file.scores if soft is None else read_scores(soft, file.labels)
        return Pair(picture=picture, file=file, scores=scores)

    def compute(self, model: Backend, read: Pair) -> Refinement:
        """Refine one mask."""
        spec, options = read.file.spec, self.config.refine
        again = partial(refine, backend=model, options=options, background=spec.background)
        return refine_upright(again, read.picture, read.file.labels, read.scores)

    def together(self, model: Backend, works: Sequence[Callable[[Any], Any]]) -> list[Any]:
        """Refine several masks, what they ask of the segmenter in shared batches if it can."""
        if len(works) > 1 and isinstance(model, BatchingBackend):
            return work_together(works, model)
        return super().together(model, works)

    def encode(self, sample: Sample, read: Pair, result: Refinement) -> Encoded:
        """Encode the mask as the coarse one was, and the pictures for people."""
        file = read.file
        mask = self.inputs(sample)["mask"]
        last = final_verdicts(result.verdicts)
        return Encoded(
            data=encode_labels(mask.suffix, result.labels, file.spec, scores=file.stored),
            extras={
                path: draw(read.picture.image, file.labels, result, file.spec)
                for path, draw in self._drawn(sample)
            },
            notes=read.picture.notes,
            status="kept" if np.array_equal(result.labels, file.labels) else "refined",
            details={
                "expected": expected_gains(last),
                **make_details(result, file.labels, last),
            },
            seconds=result.seconds,
        )

    def _drawn(self, sample: Sample) -> list[tuple[Path, Callable[..., bytes]]]:
        """Return what is drawn beside the mask: path and function that encodes it."""
        engine = self.config.engine
        overlay = engine.overlay, ".jpg", encode_overlay
        confidence = engine.confidence, ".png", encode_confidence
        return [
            (mount(Path(a), keep=True) / (sample.name + b), draw)
            for a, b, draw in (overlay, confidence)
            if a
        ]


@dataclass(frozen=True, kw_only=True)
class GuidedTask(RefineTask):
    """Refine one coarse mask with depth as a guide for the global stage."""

    titles: ClassVar[Mapping[str, str]] = {**RefineTask.titles, "unguided": "without depth"}

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return the files of the mask and its depth."""
        files = super().inputs(sample)
        options = self.config.depth
        path = find_depth(mount(Path(options.folder or "")), sample.name)
        if path is None and not options.optional:
            raise InputError(
                f"{Path(options.folder or '', sample.name)}: expected depth "
                f"({', '.join(DEPTH_SUFFIXES)}) of the name of the mask, found none; "
                "--depth-optional goes on without"
            )
        return files if path is None else {**files, "depth": path}

    def read(self, sample: Sample) -> Pair:
        """Read picture, mask, scores and depth."""
        pair, path, options = super().read(sample), self.inputs(sample).get("depth"), self.config
        if path is None:
            return pair
        height, width = pair.file.labels.shape
        depth = read_depth(
            path, options.depth.encoding, hw=(height, width), resize=options.depth.resize
        )
        return replace(pair, depth=depth)

    def compute(self, model: Backend, read: Pair) -> Refinement:
        """Refine one mask, on the photograph alone where there is no depth."""
        options = self.config.refine
        if read.depth is None:
            photo = replace(options.global_region, picture="photo")
            options = replace(options, global_region=photo)
        return refine(
            read.picture.image,
            read.file.labels,
            model,
            options,
            background=read.file.spec.background,
            scores=read.scores,
            guide=None if read.depth is None else make_guide(read.depth, self.config.depth),
        )

    def encode(self, sample: Sample, read: Pair, result: Refinement) -> Encoded:
        """Encode the mask, and tell how much of the depth was made up."""
        encoded = super().encode(sample, read, result)
        depth = read.depth
        details = {"unguided": int(depth is None)}
        holes = {} if depth is None else {"holes": round(depth.holes, 4)}
        return replace(encoded, details={**encoded.details, **details, **holes})


def refine_folder(
    pairs: Pairs,
    out: Path,
    config: Config,
    *,
    inputs: Sequence[Path] = (),
    spread: Spread = HERE,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Refine every pair into ``out``, skipping those that an earlier run has done.

    A mask goes to ``out / (name + suffix of the coarse mask)``; see ``run_folder``.

    Args:
        pairs: samples with picture and coarse mask, and what found no partner.
        out: folder for masks, ``manifest.jsonl``, ``config.yaml`` and ``summary.json``.
        config: all settings.
        inputs: folders that must not be written into.
        spread: which of the samples are done here.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: ``out`` holds other results, or is or lies in an input folder.
        InputError: ``out`` cannot be written.
        BackendError: the model cannot be loaded, or a worker process died.
    """
    depth = config.depth.folder
    if depth is not None:
        check_depth(depth, config.refine.global_region.grid)
        inputs = [*inputs, mount(Path(depth))]
    drawn = {name: getattr(config.engine, name) for name in ("overlay", "confidence")}
    shown = {name: mount(Path(path), keep=True) for name, path in drawn.items() if path}
    check_folders({"output": out} | shown, inputs)
    if not config.engine.overwrite:
        refuse_other_masks(out, pairs.samples)
    workers = choose_workers(config.engine.workers, len(pairs.samples), config.backend)
    engine = replace(config.engine, workers=workers)
    labels, notes = settle_labels(config.labels, pairs.samples)
    config = replace(config, labels=labels)
    task = RefineTask if depth is None else GuidedTask
    return run_folder(
        task(folder=out, config=replace(config, engine=engine)),
        pairs.samples,
        failures=pairs.unreadable,
        unpaired=[str(path) for path in (*pairs.unpaired_images, *pairs.unpaired_masks)],
        notes=notes,
        files={"config.yaml": dump_config(config).encode()},
        spread=spread,
        inputs=inputs or [Path(config.engine.manifest or "")],
        on_outcome=on_outcome,
    )
