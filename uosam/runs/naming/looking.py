"""Embed the regions of a folder: the task behind ``uosam name``, and the vote over what it wrote.

The task looks at pictures and writes an ``.npz`` for each; the vote reads those alone. So another
vocabulary costs no look at a picture, and a stopped run goes on.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import uosam
from uosam.backends.sharing import look_together
from uosam.backends.text.models import load_image_text, pictures_at_a_time, text_digest
from uosam.datasets.class_names import synset_names
from uosam.errors import InputError
from uosam.io.images import check_same_size, read_image
from uosam.io.outputs import check_folders
from uosam.io.pairs import Pairs
from uosam.io.stores.mounts import at_hand, remove
from uosam.regions.crops import Region, whole_mask
from uosam.regions.records import encode_rle
from uosam.regions.views import best_view, embed_regions
from uosam.runs.engine import run_folder
from uosam.runs.naming.parts import NameOptions, draw_parts, mask_size, part_of, read_regions
from uosam.runs.rows import Row
from uosam.runs.spread.launch import HERE, Spread
from uosam.runs.summary import Run
from uosam.runs.task import Encoded, Outcome, Task
from uosam.structures import Floats, Image, ImageText, Sample

FOLDER = "regions"
"""Folder below the output that holds an ``.npz`` for each picture."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen:
    """A picture and the regions of its map that are looked at."""

    image: Image
    regions: Sequence[Region]


@dataclass(frozen=True, eq=False, kw_only=True)
class Embedded:
    """(N, D) embeddings of the regions of a picture, and seconds they took."""

    embeddings: Floats
    seconds: float


@dataclass(frozen=True, kw_only=True)
class NameTask(Task):
    """Embed the regions of one picture.

    Attributes:
        folder: of the run.
        options: what is looked at.
        chosen: parts by sample, each as id and number, where lots were drawn.
    """

    titles: ClassVar[Mapping[str, str]] = {"embedded": "looked at", "regions": "regions"}
    statuses: ClassVar[tuple[str, ...]] = ("embedded",)
    folder: Path
    options: NameOptions
    chosen: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """Folder of the run."""
        return self.folder

    @property
    def workers(self) -> int:
        """Processes, each with its own model."""
        return self.options.workers

    @property
    def batch(self) -> int:
        """Pictures whose crops share batches."""
        return pictures_at_a_time(self.options.text)

    @property
    def overwrite(self) -> bool:
        """Whether results of other settings are replaced."""
        return self.options.overwrite

    def header(self) -> Row:
        """Return what determines an embedding; the vocabulary does not."""
        options = self.options
        settings = {
            "model": options.text.name,
            "precision": options.text.precision,
            "records": options.by == "proposals",
            "view": options.view,
            "min_area": options.min_area,
            "name_background": options.name_background,
            "codec": options.labels.codec,
            "background": options.labels.background,
            "ignore": options.labels.ignore,
        }
        weights = text_digest(options.text)
        return {"uosam": uosam.__version__, "weights": weights, "settings": settings}

    def inputs(self, sample: Sample) -> Mapping[str, Path]:
        """Return picture and mask."""
        if sample.image is None or sample.coarse is None:
            raise InputError(f"sample {sample.name!r} must have a picture and a mask")
        return {"image": sample.image, "mask": sample.coarse}

    def output(self, sample: Sample) -> Path:
        """Return where the embeddings go."""
        return self.folder / FOLDER / f"{sample.name}.npz"

    def load(self) -> ImageText:
        """Load the image-text model."""
        return load_image_text(self.options.text, tuple(synset_names()))

    def read(self, sample: Sample) -> Seen:
        """Read picture and mask, and find the regions."""
        paths = self.inputs(sample)
        image = read_image(paths["image"])
        size = mask_size(paths["mask"], self.options)
        if size is not None:
            check_same_size(paths["image"], image.shape[:2], paths["mask"], size)
        return Seen(image=image, regions=self._regions(sample))

    def _regions(self, sample: Sample) -> list[Region]:
        regions = read_regions(sample, self.options)
        if sample.name in self.chosen:
            wanted = set(self.chosen[sample.name])
            regions = [region for region in regions if part_of(region) in wanted]
        return regions

    def compute(self, model: ImageText, read: Seen) -> Embedded:
        """Embed the regions of one picture."""
        start = time.perf_counter()
        view = best_view(model) if self.options.view == "best" else self.options.view
        embeddings = np.zeros((0, 0), np.float32)
        if read.regions:
            embeddings = embed_regions(model, read.image, read.regions, view)
        return Embedded(embeddings=embeddings, seconds=time.perf_counter() - start)

    def together(self, model: ImageText, works: Sequence[Callable[[Any], Any]]) -> list[Any]:
        """Embed the regions of several pictures, crops of all of them in shared batches."""
        return look_together(works, model) if len(works) > 1 else super().together(model, works)

    def encode(self, sample: Sample, read: Seen, result: Embedded) -> Encoded:
        """Encode embeddings and regions."""
        hw = (read.image.shape[0], read.image.shape[1])
        facts = [
            {
                "label": region.label,
                "component": region.component,
                "box": region.box,
                "share": region.share,
                "segmentation": encode_rle(whole_mask(region, hw)),
            }
            for region in read.regions
        ]
        buffer = io.BytesIO()
        np.savez(
            buffer,
            embeddings=result.embeddings,
            regions=np.array(json.dumps({"size": hw, "regions": facts})),
        )
        return Encoded(
            data=buffer.getvalue(),
            status="embedded",
            details={"regions": len(read.regions)},
            seconds={"embed": result.seconds},
        )


def embed_folder(
    pairs: Pairs,
    out: Path,
    options: NameOptions,
    *,
    inputs: Sequence[Path] = (),
    spread: Spread = HERE,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
) -> Run:
    """Embed the regions of every pair below ``out``, skipping what an earlier run has done.

    Args:
        pairs: samples with picture and mask, and what found no partner.
        out: folder of the run.
        options: what is looked at.
        inputs: folders that must not be written into.
        spread: which of the samples are done here.
        on_outcome: called with each outcome, in the order of the samples.

    Raises:
        ConfigError: ``out`` holds results of other settings, or is or lies in an input folder.
        InputError: ``out`` cannot be written.
        BackendError: the model cannot be loaded, or a worker process died.
    """
    check_folders({"output": out}, inputs)
    lots = draw_parts(pairs.samples, options) if options.by == "clusters" and options.per_id else {}
    task = NameTask(folder=out, options=options, chosen=lots)
    for sample in spread.take(pairs.samples):
        with suppress(OSError):  # the engine then sees that it is to be done
            if lots and not _holds(task.output(sample), lots.get(sample.name, ())):
                remove(task.output(sample))
    return run_folder(
        task,
        pairs.samples,
        failures=pairs.unreadable,
        unpaired=[str(path) for path in (*pairs.unpaired_images, *pairs.unpaired_masks)],
        spread=spread,
        on_outcome=on_outcome,
    )


def _holds(path: Path, parts: Sequence[tuple[int, int]]) -> bool:
    """Tell whether an earlier run looked at these parts; True where there is no file at all."""
    try:
        with at_hand(path):
            _, facts = read_embedded(path)
    except (OSError, InputError):
        return True
    held = {(fact["label"], fact["component"]) for fact in facts["regions"]}
    return set(parts) <= held


def read_embedded(path: Path) -> tuple[Floats, dict[str, Any]]:
    """Read what the task wrote of one picture: embeddings, and size and regions of the picture.

    Raises:
        InputError: the file is damaged.
        OSError: there is none.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts: dict[str, Any] = json.loads(str(stored["regions"]))
            return stored["embeddings"], facts
    except (ValueError, KeyError, EOFError) as error:
        raise InputError(
            f"{path}: expected what uosam name wrote, got {error}; remove it and run again"
        ) from error
